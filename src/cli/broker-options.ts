// The options that describe a broker, shared by `flux broker` and `flux start`.
import type { BrokerOptions } from "../broker/options.ts";
import { counter, list, text, UsageError } from "./command.ts";

export const brokerOptionSpecs = {
  setattr: list("-S, --setattr ATTR=VAL", "set broker attribute ATTR to VAL"),
  configPath: text("-c, --config-path PATH", "read the configuration from PATH (a TOML or JSON file, or a directory)"),
  conf: list("--conf VALUE", "change the configuration: KEY=VAL, JSON, TOML, or a file"),
  verbose: counter("-v, --verbose", "say more (repeat for still more)"),
} as const;

/** Throws UsageError for an attribute without a name. */
export function toBrokerOptions(
  options: { setattr: readonly string[]; configPath: string | undefined; conf: readonly string[]; verbose: number },
  command: readonly string[],
): BrokerOptions {
  return {
    attrs: options.setattr.map(splitAttr),
    configPath: options.configPath,
    conf: options.conf,
    verbose: options.verbose,
    command,
  };
}

/** Without "=" the attribute is there, with an empty value. */
function splitAttr(word: string): [string, string] {
  const equals = word.indexOf("=");
  if (equals < 0 && word !== "") return [word, ""];
  if (equals < 1) throw new UsageError(`malformed attribute '${word}': expected ATTR=VAL`);
  return [word.slice(0, equals), word.slice(equals + 1)];
}
