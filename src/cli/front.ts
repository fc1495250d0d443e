// The options of `flux` itself, before the name of a command: which instance the command speaks to.
import { printError } from "./output.ts";
import { Flux } from "../client/flux.ts";
import { counter, flag, UsageError } from "./command.ts";
import { GetoptError, parseWords } from "./getopt.ts";

export const FRONT_OPTIONS = {
  verbose: flag("-v, --verbose", "say on stderr which instance the command speaks to"),
  version: flag("-V, --version", "print versions, like 'flux version'"),
  parent: counter("-p, --parent", "speak to the parent of this instance (repeatable)"),
  root: flag("-r, --root", "speak to the outermost of the enclosing instances"),
};

/** What is to be run after the options: words that begin with a command's name, or with "--help". */
export async function takeFrontOptions(words: readonly string[]): Promise<readonly string[]> {
  const { values, args, wantsHelp } = parseFront(words);
  if (wantsHelp) return ["--help"];
  if (values["version"] === true) return ["version"];
  await climb(values["root"] === true ? "root" : Number(values["parent"]));
  if (values["verbose"] === true) {
    for (const name of ["FLUX_URI", "FLUX_KVS_NAMESPACE"]) printError(`${name}=${process.env[name] ?? ""}`);
  }
  return args;
}

function parseFront(words: readonly string[]): ReturnType<typeof parseWords> {
  try {
    return parseWords(FRONT_OPTIONS, words, true);
  } catch (err) {
    if (!(err instanceof GetoptError)) throw err;
    const text = err.problem.kind === "unwanted value" ? `option '${err.problem.option}' doesn't allow an argument` : `unrecognized option '${err.problem.option}'`;
    throw new UsageError(`${text}\nTry 'flux --help' for more information.`);
  }
}

/** Makes $FLUX_URI and $FLUX_KVS_NAMESPACE those of an enclosing instance. Where none is left, it stays. */
async function climb(levels: number | "root"): Promise<void> {
  for (let left = levels === "root" ? Infinity : levels; left > 0; left--) {
    const h = await Flux.open();
    try {
      const [uri, namespace] = await Promise.all([h.optionalAttr("parent-uri"), h.optionalAttr("parent-kvs-namespace")]);
      if (uri === undefined) return;
      process.env["FLUX_URI"] = uri;
      if (namespace === undefined) delete process.env["FLUX_KVS_NAMESPACE"];
      else process.env["FLUX_KVS_NAMESPACE"] = namespace;
    } finally {
      h.close();
    }
  }
}
