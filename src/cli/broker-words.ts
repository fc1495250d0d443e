// The few option words of `flux broker` that `flux start` makes itself, read without an option parser.
import { UsageError } from "./command.ts";

export interface BrokerWords {
  setattr: string[];
  configPath: string | undefined;
  conf: string[];
  verbose: number;
}

/** Reads -SA=V, --setattr=A=V, -cPATH, --config-path=PATH, --conf=V, -v, -v2, --verbose=2; throws UsageError for anything else. */
export function parseBrokerWords(words: readonly string[]): BrokerWords {
  const out: BrokerWords = { setattr: [], configPath: undefined, conf: [], verbose: 0 };
  for (const word of words) {
    const match = /^(-S|-c|--setattr=|--config-path=|--conf=)([^]+)$/.exec(word);
    const given = match?.[2] ?? "";
    if (match?.[1] === "-S" || match?.[1] === "--setattr=") out.setattr.push(given);
    else if (match?.[1] === "-c" || match?.[1] === "--config-path=") out.configPath = given;
    else if (match?.[1] === "--conf=") out.conf.push(given);
    else if (/^-v+$/.test(word)) out.verbose += word.length - 1;
    else if (word === "--verbose") out.verbose++;
    else if (/^(?:-v|--verbose=)\d$/.test(word)) out.verbose = Number(word.at(-1));
    else throw new UsageError(`flux broker does not know the option '${word}'`);
  }
  return out;
}
