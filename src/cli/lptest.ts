// flux lptest: lines of which each is another piece of the printable characters, as old line printers were tried. What is lost, cut or
// mixed up on its way is seen at once.
import { defineCommand, UsageError } from "./command.ts";
import { print, wrongUsage } from "./output.ts";

const FIRST = 0x21;
/** "!" to "~". */
const CHARACTERS = 0x5e;
const LENGTH_DEFAULT = 79;
const COUNT_DEFAULT = 200;
/** Written at once, about. */
const CHUNK_CHARS = 64 << 10;

export default defineCommand({
  name: "lptest",
  style: "getopt",
  summary: "print lines of a regular pattern, to test output",
  usage: "[LENGTH] [COUNT]",
  options: {},
  async run({ args }) {
    if (args.length > 2) throw wrongUsage("flux lptest [LENGTH] [COUNT]");
    const length = numberOf(args[0], "length", LENGTH_DEFAULT);
    const count = numberOf(args[1], "count", COUNT_DEFAULT);
    const perChunk = Math.max(1, Math.floor(CHUNK_CHARS / (length + 1)));
    for (let first = 0; first < count; first += perChunk) print(...lines(length, first, Math.min(perChunk, count - first)));
    return 0;
  },
});

function numberOf(word: string | undefined, what: string, fallback: number): number {
  if (word === undefined) return fallback;
  if (!/^\d{1,9}$/.test(word)) throw new UsageError(`error parsing ${what}: ${word} is not a number from 0 to 999999999`);
  return Number(word);
}

/** `count` lines of the pattern, from line `first` on. */
export function lines(length: number, first: number, count: number): string[] {
  const all = String.fromCharCode(...Array.from({ length: CHARACTERS }, (_, i) => FIRST + i));
  const endless = all.repeat(Math.ceil(length / CHARACTERS) + 1);
  return Array.from({ length: count }, (_, i) => endless.slice((first + i) % CHARACTERS, ((first + i) % CHARACTERS) + length));
}
