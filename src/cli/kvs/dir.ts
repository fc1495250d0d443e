// flux kvs dir, ls: what is in a directory, with values or without.
import type { Flux } from "../../client/flux.ts";
import { KVS } from "../../client/kvs.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, strerror } from "../../message/errno.ts";
import { fields, opt, str, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, text, UsageError, value } from "../command.ts";
import { explain, explained, withFlux } from "../connect.ts";
import { integer } from "../options.ts";
import { print, windowWidth, printError } from "../output.ts";
import { dirEntries, lookup, namespaceOption, type Place, untilNul, valueBytes } from "./request.ts";

/** Values asked for at once. */
const LOOKUPS_MAX = 256;

const widthOption = value("-w, --width COLS", "lines of this width; 0 is without limit", integer(0));

export const dir = defineCommand({
  name: "dir",
  style: "getopt",
  summary: "print keys and values of a directory",
  usage: "[OPTIONS] [key]",
  options: {
    namespace: namespaceOption,
    recursive: flag("-R, --recursive", "go into subdirectories"),
    directory: flag("-d, --directory", "keys only"),
    width: widthOption,
    at: text("-a, --at TREEOBJ", "look below this tree object"),
  },
  async run({ options, args }) {
    if (args.length > 1) throw new UsageError("dir: specify zero or one directory");
    const key = args[0] ?? ".";
    return withFlux(async (h) => {
      const how = { place: options, recursive: options.recursive, keysOnly: options.directory, width: windowWidth(options.width) };
      await printDir(h, key, await explain(key, lookup(h, key, KVS.READDIR, options)), how);
      return 0;
    });
  },
});

interface DirFormat {
  readonly place: Place;
  readonly recursive: boolean;
  readonly keysOnly: boolean;
  readonly width: number;
}

async function printDir(h: Flux, dirKey: string, treeobj: JsonObject, how: DirFormat): Promise<void> {
  const entries = dirEntries(treeobj);
  for (let start = 0; start < entries.length; start += LOOKUPS_MAX) {
    const some = entries.slice(start, start + LOOKUPS_MAX);
    const values = some.map(([name, entry]) => entryValue(h, keyAt(dirKey, name), entry, how));
    // A failure is reported at its turn; until then it must not count as unhandled.
    for (const pending of values) pending.catch(() => {});
    for (const [i, [name, entry]] of some.entries()) await printEntry(h, keyAt(dirKey, name), entry, await values[i], how);
  }
}

function keyAt(dirKey: string, name: string): string {
  return dirKey === "." ? name : `${dirKey.replace(/\.+$/, "")}.${name}`;
}

/** The bytes of a val or valref, the entries of a directory to go into; undefined for what is shown without. */
async function entryValue(h: Flux, key: string, entry: JsonObject, how: DirFormat): Promise<Buffer | JsonObject | undefined> {
  const { type } = unpack(entry, { type: str });
  if (type === "dir" || type === "dirref") {
    return how.recursive ? explain(key, lookup(h, key, KVS.READDIR, how.place)) : undefined;
  }
  if (type === "symlink" || how.keysOnly) return undefined;
  return valueBytes(type === "val" ? entry : await explain(key, lookup(h, key, 0, how.place)));
}

async function printEntry(h: Flux, key: string, entry: JsonObject, found: Buffer | JsonObject | undefined, how: DirFormat): Promise<void> {
  const { type } = unpack(entry, { type: str });
  if (type === "symlink") {
    const { target, namespace } = unpack(entry, { data: symlinkData }).data;
    return print(`${key} -> ${namespace === undefined ? "" : `${namespace}::`}${target}`);
  }
  if (type === "dir" || type === "dirref") {
    if (found === undefined || Buffer.isBuffer(found) || dirEntries(found).length === 0) return print(`${key}.`);
    return printDir(h, key, found, how);
  }
  print(Buffer.isBuffer(found) ? cut(`${key} = ${untilNul(found).toString()}`, how.width) : key);
}

export const symlinkData = fields({ target: str, namespace: opt(str) });

/** At most `width` columns and one line; "..." where something is left out. 0 is without limit. */
export function cut(line: string, width: number): string {
  if (width <= 3) return line;
  let shown = line.length > width - 3 ? line.slice(0, width - 3) : line;
  let isCut = shown.length < line.length;
  const newline = shown.indexOf("\n");
  if (newline >= 0) {
    isCut ||= newline + 1 < shown.length;
    if (newline + 1 >= shown.length && line.length <= width - 3) isCut = false;
    shown = shown.slice(0, newline);
  }
  return isCut ? `${shown}...` : shown;
}

interface LsOptions {
  readonly namespace: string | undefined;
  readonly recursive: boolean;
  readonly directory: boolean;
  readonly classify: boolean;
}

export const ls = defineCommand({
  name: "ls",
  style: "getopt",
  summary: "list a directory",
  usage: "[OPTIONS] [key...]",
  options: {
    namespace: namespaceOption,
    recursive: flag("-R, --recursive", "go into subdirectories"),
    directory: flag("-d, --directory", "the directory itself and not what is in it"),
    width: widthOption,
    one: flag("-1, --1", "one name a line"),
    classify: flag("-F, --classify", "mark directories with . and links with @"),
  },
  async run({ options, args }) {
    const width = options.one ? 1 : windowWidth(options.width);
    return withFlux(async (h) => {
      const dirs: string[] = [];
      const singles: string[] = [];
      let code = 0;
      for (const key of args.length === 0 ? ["."] : args) {
        try {
          const sorted = await categorize(h, key, options);
          (sorted.isDir ? dirs : singles).push(sorted.shown);
        } catch (err) {
          if (!(err instanceof FluxError)) throw err;
          printError(`${key === "" ? "flux-kvs: ''" : stripped(key)}: ${strerror(err.errno)}`);
          code = 1;
        }
      }
      if (singles.length > 0) print(...columns(singles.toSorted(), singles, width));
      const labels = options.recursive || dirs.length > 1 || singles.length > 0;
      let isFirst = singles.length === 0;
      for (const key of dirs.toSorted()) {
        await listDir(h, key, options, { width, labels, isFirst });
        isFirst = false;
      }
      return code;
    });
  },
});

/** A key may end in periods: then it must be a directory. */
function stripped(key: string): string {
  return key.length > 1 ? key.replace(/(?<=.)\.+$/, "") : key;
}

async function categorize(h: Flux, word: string, options: LsOptions): Promise<{ shown: string; isDir: boolean }> {
  const key = stripped(word);
  const { type } = unpack(await lookup(h, key, KVS.TREEOBJ, options), { type: str });
  if (type === "dir" || type === "dirref") {
    if (!options.directory) return { shown: key, isDir: true };
    return { shown: options.classify ? `${key}.` : key, isDir: false };
  }
  if (key !== word) throw new FluxError(errno.ENOTDIR);
  if (type !== "symlink") return { shown: key, isDir: false };
  if (options.classify) return { shown: `${key}@`, isDir: false };
  return { shown: key, isDir: !options.directory && (await leadsToDir(h, key, options)) };
}

async function leadsToDir(h: Flux, key: string, place: Place): Promise<boolean> {
  try {
    await lookup(h, key, 0, place);
    return false;
  } catch (err) {
    if (isErrno(err, errno.EISDIR)) return true;
    if (isErrno(err, errno.ENOENT)) return false;
    throw explained(key, err);
  }
}

async function listDir(
  h: Flux,
  key: string,
  options: LsOptions,
  how: { width: number; labels: boolean; isFirst: boolean },
): Promise<void> {
  const entries = dirEntries(await explain(key, lookup(h, key, KVS.READDIR, options))).map(
    ([name, entry]) => [name, unpack(entry, { type: str }).type] as const,
  );
  if (how.labels) print(...(how.isFirst ? [] : [""]), `${key}:`);
  const names = entries.map(([name]) => name);
  print(...columns(options.classify ? entries.map(([name, type]) => name + mark(type)) : names, names, how.width));
  if (!options.recursive) return;
  for (const [name, type] of entries) {
    if (type === "dir" || type === "dirref") await listDir(h, keyAt(key, name), options, { ...how, isFirst: false });
  }
}

function mark(type: string): string {
  return type === "dir" || type === "dirref" ? "." : type === "symlink" ? "@" : "";
}

/** Words in columns wide enough for the longest of `names` and 4 blanks, in lines of at most `width` (0: one line). */
export function columns(words: readonly string[], names: readonly string[], width: number): string[] {
  const column = Math.max(0, ...names.map((name) => Buffer.byteLength(name))) + 4;
  const perLine = width === 0 ? words.length : Math.max(1, Math.floor(width / column));
  const lines: string[] = [];
  for (let i = 0; i < words.length; i += perLine) {
    const line = words.slice(i, i + perLine);
    lines.push(line.map((word, j) => (j === line.length - 1 ? word : word.padEnd(column))).join(""));
  }
  return lines;
}
