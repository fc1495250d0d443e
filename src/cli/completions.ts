// flux completions: what bash and zsh complete, made from the commands' own descriptions. The files in etc/completions/
// are its output.
import { type CommandSpecAny, defineCommand, type OptionSpecs, UsageError } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { FRONT_OPTIONS } from "./front.ts";
import { print } from "./output.ts";

/** "flux kvs get" → its options, or its subcommands. */
interface Completion {
  readonly path: string;
  readonly options: readonly string[];
  readonly words: readonly string[];
}

export default defineCommand({
  name: "completions",
  style: "getopt",
  summary: "print completions for a shell",
  usage: "bash|zsh",
  async run({ args }) {
    if (args[0] === "bash") print(bashCompletions(await completions()));
    else if (args[0] === "zsh") print(zshCompletions(await completions()));
    else throw new UsageError("name a shell: bash or zsh");
    return 0;
  },
});

export async function completions(): Promise<Completion[]> {
  const names = Object.keys(COMMANDS).filter((name) => COMMANDS[name]?.hidden !== true);
  const specs = await Promise.all(names.map(async (name) => [name, (await COMMANDS[name]?.load())?.default] as const));
  const found = specs.flatMap(([name, spec]) => (spec === undefined ? [] : describe(spec, `flux ${name}`)));
  return [{ path: "flux", options: [...longOptions(FRONT_OPTIONS), "--help"], words: names }, ...found];
}

function describe(spec: CommandSpecAny, path: string): Completion[] {
  const own = {
    path,
    options: [...longOptions(spec.options ?? {}), "--help"],
    words: (spec.subcommands ?? []).filter((sub) => sub.hidden !== true).map((sub) => sub.name),
  };
  // A command named "help" lists commands as its words.
  const words = path === "flux help" ? Object.keys(COMMANDS).filter((name) => COMMANDS[name]?.hidden !== true) : own.words;
  return [{ ...own, words }, ...(spec.subcommands ?? []).flatMap((sub) => describe(sub, `${path} ${sub.name}`))];
}

function longOptions(specs: OptionSpecs): string[] {
  const shown = Object.values(specs).filter((option) => option.hidden !== true);
  return shown.flatMap((option) => option.flags.match(/(?<![\w-])--[\w-]+/g) ?? []);
}

function table(name: string, entries: readonly (readonly [string, readonly string[]])[]): string {
  const lines = entries.filter(([, words]) => words.length > 0).map(([path, words]) => `  ["${path}"]="${words.join(" ")}"`);
  return `declare -gA ${name}=(\n${lines.join("\n")}\n)`;
}

export function bashCompletions(all: readonly Completion[]): string {
  return `# Completions of flux for bash, made by: flux completions bash
${table("_flux_words", all.map(({ path, words }) => [path, words]))}
${table("_flux_options", all.map(({ path, options }) => [path, options]))}

_flux() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path=flux word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    [[ $word == -* ]] && continue
    [[ -n \${_flux_options["$path $word"]} ]] || break
    path="$path $word"
  done
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "\${_flux_options[$path]}" -- "$cur"))
  elif [[ -n \${_flux_words[$path]} ]]; then
    COMPREPLY=($(compgen -W "\${_flux_words[$path]}" -- "$cur"))
  else
    compopt -o default
    COMPREPLY=()
  fi
}
complete -F _flux flux`;
}

export function zshCompletions(all: readonly Completion[]): string {
  return `#compdef flux
# Completions of flux for zsh, made by: flux completions zsh
${table("_flux_words", all.map(({ path, words }) => [path, words])).replaceAll('  ["', '  "').replaceAll('"]="', '" "')}
${table("_flux_options", all.map(({ path, options }) => [path, options])).replaceAll('  ["', '  "').replaceAll('"]="', '" "')}

_flux() {
  local path_=flux word
  for word in \${words[2,CURRENT-1]}; do
    [[ $word == -* ]] && continue
    [[ -n \${_flux_options[$path_ $word]} ]] || break
    path_="$path_ $word"
  done
  if [[ \${words[CURRENT]} == -* ]]; then
    compadd -- \${=_flux_options[$path_]}
  elif [[ -n \${_flux_words[$path_]} ]]; then
    compadd -- \${=_flux_words[$path_]}
  else
    _default
  fi
}
_flux "$@"`;
}
