// flux hostlist: host lists (RFC 29) from the instance, from jobs, from words or stdin, combined, cut and printed.
import type { Flux } from "../client/flux.ts";
import { parseJobId } from "../formats/fluid.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { IdSet } from "../formats/idset.ts";
import { errno, isErrno } from "../message/errno.ts";
import { def, fields, str, unpack } from "../message/unpack.ts";
import { defineCommand, flag, text, UsageError, value, valueOr } from "./command.ts";
import { withFlux } from "./connect.ts";
import { integer } from "./options.ts";
import { print } from "./output.ts";

interface HostlistOptions {
  readonly expand: boolean;
  readonly delimiter: string;
  readonly count: boolean;
  readonly nth: string | undefined;
  readonly find: string | undefined;
  readonly limit: number | undefined;
  readonly sort: boolean;
  readonly exclude: string | undefined;
  readonly union: boolean;
  readonly intersect: boolean;
  readonly minus: boolean;
  readonly xor: boolean;
  readonly quiet: boolean;
}

const STDIN_TIMEOUT_S = 15;

export default defineCommand({
  name: "hostlist",
  style: "argparse",
  summary: "fetch, combine and cut lists of hosts",
  usage: "[OPTIONS] [SOURCES...]",
  details: `Prints a list of hosts. SOURCES may include:
  instance     the hosts of this instance
  JOBID        the hosts of a job
  local        the hosts of the job that this runs in, or else of the instance
  avail        the hosts of the instance that are neither down nor drained
  stdin, -     lines read from stdin (the default)
  HOSTS        hosts, as in node[0-3]

Example: flux hostlist -e -d, 'node[0-3]'`,
  options: {
    expand: flag("-e, --expand", "print each host"),
    delimiter: valueOr("-d, --delimiter S", "what stands between expanded hosts (default: a blank)", String, " "),
    count: flag("-c, --count", "print how many hosts there are"),
    nth: text("-n, --nth [-]IDS", "only the hosts at these indexes; -IDS counts from the end"),
    find: text("-F, --find HOSTS", "print the indexes of HOSTS"),
    limit: value("-L, --limit N", "at most N hosts; -N: the last N", integer(Number.MIN_SAFE_INTEGER)),
    sort: flag("-S, --sort", "sort"),
    exclude: text("-x, --exclude IDS|HOSTS", "without these hosts, or those at these indexes"),
    union: flag("-u, --union, --unique", "each host once, sorted"),
    intersect: flag("-i, --intersect", "hosts that are in all sources"),
    minus: flag("-m, --minus", "the first source without the others"),
    xor: flag("-X, --xor", "hosts that are in one source and not in the other"),
    fallback: flag("-f, --fallback", "what looks like a job id and isn't one is a host"),
    local: flag("-l, --local", "the default source is local"),
    quiet: flag("-q, --quiet", "print nothing; exit with 1 when there is no host"),
  },
  async run({ options, args }) {
    if ([options.intersect, options.minus, options.xor].filter(Boolean).length > 1) {
      throw new UsageError("use only one of --intersect, --minus and --xor");
    }
    const sources = args.length > 0 ? args : [options.local ? "local" : "stdin"];
    const lists = await resolveAll(sources, options.fallback);
    const hosts = pick(combine(lists, options), options);
    return show(hosts, options);
  },
});

/** One connection serves all sources that need it; none is made otherwise. */
async function resolveAll(sources: readonly string[], fallback: boolean): Promise<Hostlist[]> {
  const reader = sources.findIndex(isStdin); // for those after it nothing is left
  const input = reader < 0 ? new Hostlist() : await readHosts();
  const known = sources.map((word, index) => {
    if (!isStdin(word)) return literalHosts(word);
    return index === reader ? input : new Hostlist();
  });
  if (known.every((hosts) => hosts !== undefined)) return known;
  return withFlux((h) => Promise.all(sources.map(async (word, index) => known[index] ?? fromInstance(h, word, fallback))));
}

function isStdin(word: string): boolean {
  return word === "stdin" || word === "-";
}

/** The hosts that a word names, unless it may name something else. */
function literalHosts(word: string): Hostlist | undefined {
  if (["stdin", "-", "instance", "local", "avail", "available"].includes(word) || jobIdOf(word) !== undefined) return undefined;
  try {
    return Hostlist.parse(word);
  } catch {
    throw new UsageError(`Invalid jobid or hostlist ${word}`);
  }
}

function jobIdOf(word: string): bigint | undefined {
  try {
    return parseJobId(word);
  } catch {
    return undefined;
  }
}

async function readHosts(): Promise<Hostlist> {
  const hosts = new Hostlist();
  for (const word of (await readInput()).split(/\s+/)) if (word !== "") hosts.append(word);
  return hosts;
}

/** All of stdin. Whoever forgot to name a source is told so when nothing comes. */
async function readInput(): Promise<string> {
  const timeout_s = Number(process.env["FLUX_HOSTLIST_STDIN_TIMEOUT"] ?? STDIN_TIMEOUT_S);
  if (!(timeout_s >= 0)) throw new UsageError("FLUX_HOSTLIST_STDIN_TIMEOUT must be a number of seconds");
  const chunks: Uint8Array[] = [];
  const { promise: silence, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new UsageError(`timeout after ${timeout_s}s waiting for stdin`)), timeout_s * 1000);
  const reader = Bun.stdin.stream().getReader();
  try {
    for (let part = await Promise.race([reader.read(), silence]); part.value !== undefined; part = await reader.read()) {
      clearTimeout(timer);
      chunks.push(part.value);
    }
  } finally {
    clearTimeout(timer);
    reader.releaseLock();
  }
  return Buffer.concat(chunks).toString();
}

async function fromInstance(h: Flux, word: string, fallback: boolean): Promise<Hostlist> {
  if (word === "instance") return instanceHosts(h);
  if (word === "local") return localHosts(h);
  if (word === "avail" || word === "available") return availableHosts(h);
  return jobHosts(h, word, fallback);
}

async function instanceHosts(h: Flux): Promise<Hostlist> {
  return Hostlist.parse(await h.attr("hostlist"));
}

function localHosts(h: Flux): Promise<Hostlist> {
  const jobid = process.env["FLUX_JOB_ID"];
  return jobid === undefined ? instanceHosts(h) : jobHosts(h, jobid, false);
}

async function availableHosts(h: Flux): Promise<Hostlist> {
  const { obj } = await import("../message/unpack.ts");
  const answer = unpack(await h.rpc("resource.status", undefined, { nodeid: 0 }), { offline: str, exclude: str, drain: obj });
  const hosts = await localHosts(h);
  let ranks = hosts.length === 0 ? new IdSet() : IdSet.range(0, hosts.length - 1);
  for (const ids of [answer.offline, answer.exclude, ...Object.keys(answer.drain)]) ranks = ranks.subtract(IdSet.parse(ids));
  return hosts.slice(ranks);
}

async function jobHosts(h: Flux, word: string, fallback: boolean): Promise<Hostlist> {
  try {
    const answer = await h.rpc("job-list.list-id", { id: parseJobId(word), attrs: ["nodelist"] });
    return Hostlist.parse(unpack(answer, { job: fields({ nodelist: def(str, "") }) }).job.nodelist); // none before it has nodes
  } catch (err) {
    if (isErrno(err, errno.ENOENT) && fallback) return Hostlist.parse(word);
    if (isErrno(err, errno.ENOENT)) throw new UsageError(`job ${word} not found`);
    throw new UsageError(`job ${word}: ${err instanceof Error ? err.message : String(err)}`);
  }
}

export function combine(lists: readonly Hostlist[], options: Pick<HostlistOptions, "intersect" | "minus" | "xor">): Hostlist {
  const [first = new Hostlist(), ...others] = lists;
  if (options.intersect) return others.reduce((a, b) => keep(a, (host) => b.has(host)).uniq(), first);
  if (options.xor) {
    return others.reduce((a, b) => keep(a, (host) => !b.has(host)).append(keep(b, (host) => !a.has(host))).uniq(), first);
  }
  const result = first.clone();
  for (const other of others) {
    if (options.minus) removeOnce(result, other);
    else result.append(other);
  }
  return result;
}

function keep(hosts: Hostlist, wanted: (host: string) => boolean): Hostlist {
  return Hostlist.from([...hosts].filter(wanted));
}

/** Subtracting a host removes as many of it as are subtracted. */
function removeOnce(hosts: Hostlist, doomed: Hostlist): void {
  const left = hosts.toArray();
  for (const host of doomed) {
    const at = left.indexOf(host);
    if (at >= 0) left.splice(at, 1);
  }
  hosts.delete(hosts.clone());
  for (const host of left) hosts.push(host);
}

function pick(combined: Hostlist, options: HostlistOptions): Hostlist {
  let hosts = options.exclude === undefined ? combined : without(combined, options.exclude);
  if (options.sort) hosts = hosts.clone().sort();
  if (options.union) hosts = hosts.clone().uniq();
  const { limit } = options;
  if (limit !== undefined && limit > 0) hosts = Hostlist.from(hosts.toArray().slice(0, limit));
  if (limit !== undefined && limit < 0) hosts = Hostlist.from(hosts.toArray().slice(limit));
  return options.nth === undefined ? hosts : nthOf(hosts, options.nth);
}

function without(hosts: Hostlist, words: string): Hostlist {
  const left = hosts.clone();
  if (left.delete(words) > 0) return left;
  try {
    const ids = IdSet.parse(words);
    return Hostlist.from(hosts.toArray().filter((_, index) => !ids.has(index)));
  } catch {
    return hosts;
  }
}

function nthOf(hosts: Hostlist, words: string): Hostlist {
  const fromEnd = words.startsWith("-");
  const ids = parseIds(fromEnd ? words.slice(1) : words);
  const indexes = fromEnd ? ids.toArray().toReversed().map((id) => hosts.length - id) : ids.toArray();
  return Hostlist.from(
    indexes.map((index) => {
      const host = index < 0 ? undefined : hosts.nth(index);
      if (host === undefined) throw new UsageError("Hostlist index out of range");
      return host;
    }),
  );
}

function parseIds(words: string): IdSet {
  try {
    return IdSet.parse(words);
  } catch {
    throw new UsageError(`'${words}' is not an idset`);
  }
}

function show(hosts: Hostlist, options: HostlistOptions): number {
  if (options.find !== undefined) {
    const indexes = [...Hostlist.parse(options.find)].map((host) => {
      const index = hosts.find(host);
      if (index < 0) throw new UsageError(`host '${host}' not found`);
      return index;
    });
    if (!options.quiet) print(indexes.join(" "));
  } else if (!options.quiet) {
    if (options.count) print(String(hosts.length));
    else if (hosts.length > 0) print(options.expand ? hosts.toArray().join(options.delimiter.replaceAll("\\n", "\n")) : hosts.toString());
  }
  return options.quiet && hosts.length === 0 ? 1 : 0;
}
