// Constraints on jobs (RFC 43): which jobs of a list are wanted.
//
//   {"and": [{"userid": [1000]}, {"states": ["running"]}]}
//
// Operators: userid name queue states results hostlist ranks t_submit … t_inactive, and, or, not.
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type Json } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { RESULT, resultByName, STATE, statesByName } from "../../client/jobs.ts";
import type { Attribute } from "./job.ts";

/** A job to compare: its attributes. */
export interface Candidate {
  get(name: Attribute): Json | undefined;
}

export interface JobConstraint {
  /** Throws FluxError EINVAL after too many comparisons. */
  match(job: Candidate): boolean;
  /** Sum of the states that a matching job can be in. */
  readonly states: number;
}

type Test = (job: Candidate) => boolean;
interface Part {
  readonly test: Test;
  /** States that a match can have. */
  readonly states: number;
  /** States whose jobs all match. */
  readonly sure: number;
}

const ALL_STATES = STATE.DEPEND | STATE.PRIORITY | STATE.SCHED | STATE.RUN | STATE.CLEANUP | STATE.INACTIVE;
const ALL_RESULTS = RESULT.COMPLETED | RESULT.FAILED | RESULT.CANCELED | RESULT.TIMEOUT;
/** Operators inside operators. */
const DEPTH_MAX = 64;
const HOSTS_MAX = 100_000;

/** States in which a job can have a timestamp. */
const TIMES: Readonly<Record<string, number>> = {
  t_submit: ALL_STATES,
  t_depend: ALL_STATES,
  t_priority: ALL_STATES,
  t_sched: ALL_STATES,
  t_run: STATE.RUN | STATE.CLEANUP | STATE.INACTIVE,
  t_cleanup: STATE.CLEANUP | STATE.INACTIVE,
  t_inactive: STATE.INACTIVE,
};

/** Queue → its virtual queues, whose jobs are meant with its own. */
export type VirtualQueues = ReadonlyMap<string, readonly string[]>;

/** Compiles a constraint; undefined matches all jobs. `comparisonsMax` 0: unlimited. Throws FluxError EPROTO. */
export function compileJobConstraint(constraint: Json | undefined, comparisonsMax: number, virtual: VirtualQueues = new Map()): JobConstraint {
  let comparisons = 0;
  const counted = (test: Test): Test => (job) => {
    if (++comparisons > comparisonsMax && comparisonsMax > 0) {
      throw new FluxError(errno.EINVAL, "Excessive comparisons made, limit search via states or since");
    }
    return test(job);
  };
  if (constraint === undefined || constraint === null) return { match: () => true, states: ALL_STATES };
  const { test, states } = compile(constraint, { counted, virtual }, 0);
  return { match: test, states };
}

function bad(problem: string): FluxError {
  return new FluxError(errno.EPROTO, `invalid payload: constraint object invalid: ${problem}`);
}

interface Context {
  readonly counted: (test: Test) => Test;
  readonly virtual: VirtualQueues;
}

function compile(constraint: Json, context: Context, depth: number): Part {
  if (!isJsonObject(constraint)) throw bad("constraint must be JSON object");
  if (depth > DEPTH_MAX) throw bad(`more than ${DEPTH_MAX} operators inside each other`);
  const operators = Object.keys(constraint);
  if (operators.length > 1) throw bad("constraint must only contain 1 element");
  const operator = operators[0];
  if (operator === undefined) return { test: () => true, states: ALL_STATES, sure: ALL_STATES };
  const values = constraint[operator];
  if (!Array.isArray(values)) throw bad(`operator ${operator} values not an array`);
  const items = values as readonly Json[];
  const leaf = (test: Test, states = ALL_STATES, sure = 0): Part => ({ test: context.counted(test), states, sure });
  switch (operator) {
    case "userid": return leaf(matchUserid(items));
    case "name": return leaf(matchText(operator, strings(operator, items)));
    case "queue": return leaf(matchText(operator, strings(operator, items).flatMap((name) => [name, ...(context.virtual.get(name) ?? [])])));
    case "states": {
      const states = statesMask(items);
      return leaf((job) => (Number(job.get("state")) & states) !== 0, states, states);
    }
    case "results": {
      const results = resultsMask(items);
      return leaf((job) => (Number(job.get("result") ?? 0) & results) !== 0, STATE.INACTIVE);
    }
    case "hostlist": return leaf(matchHosts(items));
    case "ranks": return leaf(matchRanks(items));
    case "and": case "or": case "not": return combine(operator, items.map((item) => compile(item, context, depth + 1)));
    default:
      if (Object.hasOwn(TIMES, operator)) return leaf(matchTime(operator as Attribute, items), TIMES[operator]);
      throw bad(`unknown constraint operator: ${operator}`);
  }
}

function combine(operator: "and" | "or" | "not", parts: readonly Part[]): Part {
  const all = (of: (part: Part) => number): number => parts.reduce((mask, part) => mask & of(part), ALL_STATES);
  const any = (of: (part: Part) => number): number => (parts.length === 0 ? ALL_STATES : parts.reduce((mask, part) => mask | of(part), 0));
  const every: Test = (job) => parts.every(({ test }) => test(job));
  if (operator === "and") return { test: every, states: all((part) => part.states), sure: all((part) => part.sure) };
  if (operator === "or") {
    const test: Test = (job) => parts.length === 0 || parts.some((part) => part.test(job));
    return { test, states: any((part) => part.states), sure: any((part) => part.sure) };
  }
  return { test: (job) => !every(job), states: ALL_STATES & ~all((part) => part.sure), sure: ALL_STATES & ~all((part) => part.states) };
}

function matchUserid(items: readonly Json[]): Test {
  const userids = items.map((item) => {
    if (typeof item !== "number" || !Number.isInteger(item)) throw bad("userid value must be an integer");
    return item;
  });
  // The unknown user (2^32-1, also written -1) is everybody.
  const everybody = userids.some((userid) => userid === 0xffff_ffff || userid === -1);
  return (job) => everybody || userids.includes(Number(job.get("userid")));
}

function strings(operator: string, items: readonly Json[]): string[] {
  return items.map((item) => {
    if (typeof item !== "string") throw bad(`${operator} value must be a string`);
    return item;
  });
}

function matchText(operator: "name" | "queue", wanted: readonly string[]): Test {
  return (job) => {
    const value = job.get(operator);
    return typeof value === "string" && wanted.includes(value);
  };
}

function statesMask(items: readonly Json[]): number {
  return items.reduce<number>((mask, item) => {
    const bits = typeof item === "string" ? statesByName(item) : item;
    if (typeof item !== "string" && typeof item !== "number") throw bad("states value invalid type");
    if (bits === undefined) throw bad(`invalid states value '${item}' specified`);
    if (typeof bits !== "number" || !Number.isInteger(bits) || (bits & ~(ALL_STATES | STATE.NEW)) !== 0) throw bad(`invalid states value '${Number(bits).toString(16)}h' specified`);
    return mask | bits;
  }, 0);
}

function resultsMask(items: readonly Json[]): number {
  return items.reduce<number>((mask, item) => {
    if (typeof item !== "string" && typeof item !== "number") throw bad("results value invalid type");
    const bits = typeof item === "string" ? resultByName(item) : item;
    if (bits === undefined) throw bad(`invalid results value '${item}' specified`);
    if (!Number.isInteger(bits) || (bits & ~ALL_RESULTS) !== 0) throw bad(`invalid results value '${bits.toString(16)}h' specified`);
    return mask | bits;
  }, 0);
}

function matchHosts(items: readonly Json[]): Test {
  const wanted = new Set<string>();
  for (const text of items) {
    if (typeof text !== "string") throw bad("host value must be a string");
    let hosts: Hostlist;
    try {
      hosts = Hostlist.parse(text);
    } catch {
      throw bad("host value not in valid Hostlist format");
    }
    if (wanted.size + hosts.length > HOSTS_MAX) throw bad("too many hosts specified");
    for (const host of hosts) wanted.add(host);
  }
  return (job) => {
    const nodelist = job.get("nodelist");
    if (typeof nodelist !== "string") return false;
    for (const host of Hostlist.parse(nodelist)) if (wanted.has(host)) return true;
    return false;
  };
}

function matchRanks(items: readonly Json[]): Test {
  let wanted = new IdSet();
  for (const text of items) {
    if (typeof text !== "string") throw bad("ranks value must be a string");
    try {
      wanted = wanted.union(IdSet.parse(text));
    } catch (err) {
      throw bad(`ranks value '${text}': ${err instanceof Error ? err.message : String(err)}`);
    }
  }
  return (job) => {
    const ranks = job.get("ranks");
    return typeof ranks === "string" && wanted.intersects(IdSet.parse(ranks));
  };
}

const COMPARISONS: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  ">=": (a, b) => a >= b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  "<": (a, b) => a < b,
};

function matchTime(name: Attribute, items: readonly Json[]): Test {
  const [text] = items;
  if (text === undefined) throw bad("timestamp value not specified");
  if (typeof text !== "string") throw bad(`${name} value must be a string`);
  const [, operator, rest = ""] = /^([<>]=?)(.*)$/.exec(text) ?? [];
  const compare = operator === undefined ? undefined : COMPARISONS[operator];
  if (compare === undefined) throw bad("timestamp comparison operator not specified");
  const limit = Number(rest);
  if (rest.trim() === "" || !Number.isFinite(limit)) throw bad("Invalid timestamp value specified");
  if (limit < 0) throw bad("timestamp value must be >= 0.0");
  return (job) => {
    const value = job.get(name);
    return typeof value === "number" && compare(value, limit);
  };
}
