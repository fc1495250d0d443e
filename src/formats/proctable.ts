// Process table of a job: which process on which host is which task, as debuggers (MPIR) and `flux job hostpids` ask a job's shells for.
//
//   { hosts, executables, ids, pids, ranks }
//
// The last three are range lists: numbers, each entry counted from the last number of the one before. N is one number; [N, M] is M+1
// numbers from N on, or for a negative M so many more copies of N; a third member repeats the entry. The first two are lists of a name, or
// [PREFIX, range list of suffixes], where suffix -1 is the prefix alone.
import { FormatError } from "./error.ts";
import { isJsonObject, type Json, type JsonObject } from "./json.ts";

export interface ProctableEntry {
  readonly host: string;
  readonly executable: string;
  readonly taskid: number;
  readonly pid: number;
  /** Of the broker. */
  readonly rank: number;
}

/** Longest list that is expanded: more tasks than any machine runs. */
const LIST_MAX = 1 << 24;

export function encodeProctable(entries: readonly ProctableEntry[]): JsonObject {
  return {
    hosts: encodeNames(entries.map((entry) => entry.host)),
    executables: encodeNames(entries.map((entry) => entry.executable)),
    ids: encodeRanges(entries.map((entry) => entry.taskid)),
    pids: encodeRanges(entries.map((entry) => entry.pid)),
    ranks: encodeRanges(entries.map((entry) => entry.rank)),
  };
}

/** Throws FormatError. */
export function decodeProctable(value: Json): ProctableEntry[] {
  if (!isJsonObject(value)) throw new FormatError("process table", JSON.stringify(value), "it must be an object");
  const hosts = decodeNames(value["hosts"] ?? []);
  const executables = decodeNames(value["executables"] ?? []);
  const pids = decodeRanges(value["pids"] ?? []);
  const taskids = decodeRanges(value["ids"] ?? []);
  const ranks = decodeRanges(value["ranks"] ?? []);
  return hosts.map((host, i) => ({ host, executable: executables[i] ?? "", taskid: taskids[i] ?? i, pid: pids[i] ?? -1, rank: ranks[i] ?? -1 }));
}

interface Run {
  readonly first: number;
  last: number;
  count: number;
}

/** Numbers as runs that rise by one, or stay the same. */
function runsOf(numbers: readonly number[]): Run[] {
  const runs: Run[] = [];
  for (const n of numbers) {
    const run = runs.at(-1);
    const rises = run !== undefined && n === run.last + 1 && run.last - run.first === run.count - 1;
    const stays = run !== undefined && n === run.first && run.last === run.first;
    if (run === undefined || (!rises && !stays)) runs.push({ first: n, last: n, count: 1 });
    else {
      run.last = n;
      run.count++;
    }
  }
  return runs;
}

function encodeRanges(numbers: readonly number[]): Json[] {
  let base = 0;
  return runsOf(numbers).map(({ first, last, count }): Json => {
    const delta = first - base;
    base = last;
    if (count === 1) return delta;
    return [delta, first === last ? 1 - count : count - 1];
  });
}

function decodeRanges(list: Json): number[] {
  const out: number[] = [];
  let base = 0;
  for (const entry of Array.isArray(list) ? (list as readonly Json[]) : []) {
    const [delta = 0, more = 0, repeat = 0] = (Array.isArray(entry) ? entry : [entry]).map(Number);
    for (let i = 0; i <= repeat; i++) {
      const first = base + delta;
      if (out.length + Math.abs(more) >= LIST_MAX) throw new FormatError("process table", "", `more than ${LIST_MAX} tasks`);
      for (let n = 0; n <= Math.abs(more); n++) out.push(more < 0 ? first : first + n);
      base = more < 0 ? first : first + more;
    }
  }
  return out;
}

/** "node12" → "node" and 12; -1 for a name without a number that can be written as one. */
function splitName(name: string): { prefix: string; suffix: number } {
  const [, prefix, digits] = /^(.*?)(0|[1-9]\d{0,8})$/.exec(name) ?? [];
  return prefix === undefined || digits === undefined || /\d$/.test(prefix) ? { prefix: name, suffix: -1 } : { prefix, suffix: Number(digits) };
}

function encodeNames(names: readonly string[]): Json[] {
  const groups: { prefix: string; suffixes: number[] }[] = [];
  for (const name of names) {
    const { prefix, suffix } = splitName(name);
    const group = groups.at(-1);
    if (group?.prefix === prefix) group.suffixes.push(suffix);
    else groups.push({ prefix, suffixes: [suffix] });
  }
  return groups.map(({ prefix, suffixes }): Json => {
    const [suffix] = suffixes;
    if (suffixes.length === 1) return suffix === -1 ? prefix : `${prefix}${suffix}`;
    return [prefix, encodeRanges(suffixes)];
  });
}

function decodeNames(list: Json): string[] {
  if (!Array.isArray(list)) throw new FormatError("process table", JSON.stringify(list), "names must be a list");
  return (list as readonly Json[]).flatMap(namesOf);
}

function namesOf(entry: Json): string[] {
  if (typeof entry === "string") return [entry];
  const [name, suffixes = []] = Array.isArray(entry) ? (entry as readonly Json[]) : [];
  const prefix = typeof name === "string" ? name : "";
  return decodeRanges(suffixes).map((suffix) => (suffix < 0 ? prefix : `${prefix}${suffix}`));
}
