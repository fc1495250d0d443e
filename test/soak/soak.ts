// Soak: one instance of four brokers with a state directory lives several lives, in which everything happens to it: thousands of
// jobs, cancels, signals, updates, drains, stopped queues, brokers that die, orderly ends and SIGKILLs. In the last life all jobs
// may end, and the history that the KVS has of them is checked (history.ts).
//
//   node_modules/.bin/bun test/soak/soak.ts --jobs 20000 --seed 1      prints what it did; exit code 1 when something is wrong
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Flux } from "../../src/client/flux.ts";
import { cancelJob, killJob, outcomeOf, resultAbbreviation, setUrgency, STATE, submitJob } from "../../src/client/jobs.ts";
import { decodeJson, type JsonObject } from "../../src/formats/json.ts";
import { parseEventlog } from "../../src/formats/eventlog.ts";
import { formatJobId, type JobId } from "../../src/formats/fluid.ts";
import { Rset } from "../../src/formats/rset.ts";
import { errno, toFluxError } from "../../src/message/errno.ts";
import { readProcess } from "../../src/os/process-tree.ts";
import { jobid, unpack } from "../../src/message/unpack.ts";
import { FLUX, processesBelow, userEnvironment } from "../e2e/flux.ts";
import { jobspec } from "../shell/support.ts";
import { checkHistory, type JobHistory } from "./history.ts";

export interface SoakOptions {
  readonly jobs: number;
  readonly seed: number;
  /** Lives of the instance; every other one ends by SIGKILL. */
  readonly lives: number;
  readonly log?: (line: string) => void;
}

export interface SoakReport {
  /** [] when all is well. */
  readonly wrong: readonly string[];
  /** How many jobs ended how: CD, F, CA, TO. */
  readonly results: Readonly<Record<string, number>>;
  /** What was done to them and to the instance. */
  readonly done: Readonly<Record<string, number>>;
}

const BROKERS = 4;
const CORES = 16;
/** An orderly end may take so long: jobs that run are cancelled, and get kill-timeout to go. */
const END_MAX_MS = 20_000;
/** The same for the jobs of one chunk to make room. */
const STALL_MS = 30_000;
/** More cores than the machine has: most jobs are simulated. Job ids begin above 2^53. */
const CONFIG = `
[resource]
noverify = true
config = [ { hosts = "node[0-${BROKERS - 1}]", cores = "0-${CORES - 1}" } ]
[exec]
kill-timeout = "100ms"
[ingest]
fluid-start = ${2 ** 29 + 12345}
`;
/** Jobs that are submitted at a time. */
const CHUNK = 100;
/** After so many jobs are pending or running, no more are submitted until some have ended. */
const ACTIVE_MAX = 1500;
/** Jobs that run until somebody ends them, at a time: real processes. */
const SLEEPERS_MAX = 20;

/** Errors of requests about a job that has ended meanwhile, or is not in that state. */
const TOO_LATE: ReadonlySet<number> = new Set([errno.ENOENT, errno.EINVAL]);

/** A generator of numbers in [0, 1) from a seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Life {
  readonly h: Flux;
  /** Lets the initial program end; resolves when the instance has. */
  readonly end: () => Promise<number>;
  /** SIGKILL to every process of the instance. */
  readonly crash: () => Promise<void>;
}

interface Soak {
  readonly options: SoakOptions;
  readonly random: () => number;
  readonly folder: string;
  /** Acknowledged by the instance: these must not be lost. */
  readonly ids: JobId[];
  readonly held: Set<JobId>;
  readonly sleepers: Set<JobId>;
  readonly crashes_s: number[];
  readonly done: Record<string, number>;
  readonly wrong: string[];
}

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const folder = mkdtempSync(join(tmpdir(), "flux-soak-"));
  const state: Soak = { options, random: randomFrom(options.seed), folder, ids: [], held: new Set(), sleepers: new Set(), crashes_s: [], done: {}, wrong: [] };
  try {
    for (let life = 1; life < options.lives; life++) await live(state, life);
    return { wrong: state.wrong, results: await lastLife(state), done: state.done };
  } finally {
    for (const pid of pidsBelow(folder)) kill(pid);
    rmSync(folder, { recursive: true, force: true });
  }
}

// ---- the instance

async function start(state: Soak): Promise<Life> {
  const { folder } = state;
  const config = join(folder, "soak.toml");
  writeFileSync(config, CONFIG);
  const argv = ["start", `--test-size=${BROKERS}`, `--test-hosts=node[0-${BROKERS - 1}]`, "--test-exit-mode=leader", `-Sstatedir=${folder}`, `--config-path=${config}`];
  const child = Bun.spawn([FLUX, ...argv, "sh", "-c", "echo URI=$FLUX_URI; exec cat >/dev/null"], {
    env: userEnvironment({ TMPDIR: folder }),
    cwd: "/",
    stdin: "pipe",
    stdout: "pipe",
    stderr: state.options.log === undefined ? "ignore" : "inherit",
  });
  const uri = await firstLine(child.stdout);
  const h = await Flux.open(uri.replace(/^URI=/, ""));
  return {
    h,
    async end() {
      h.close();
      await child.stdin.end();
      return child.exited;
    },
    async crash() {
      const killed = new Set<number>();
      for (let left = pidsBelow(folder); left.length > 0; left = pidsBelow(folder)) {
        for (const pid of left) {
          killed.add(pid);
          kill(pid);
        }
        await Bun.sleep(5);
      }
      // One that is dying is not below the folder any more, and may still have its files.
      while ([...killed].some((pid) => (readProcess(pid)?.state ?? "Z") !== "Z")) await Bun.sleep(5);
      h.close();
      await child.exited;
    },
  };
}

function pidsBelow(folder: string): number[] {
  return processesBelow(folder).map((line) => Number.parseInt(line, 10));
}

async function firstLine(stdout: ReadableStream<Uint8Array>): Promise<string> {
  let seen = "";
  for await (const chunk of stdout) {
    seen += Buffer.from(chunk).toString();
    const end = seen.indexOf("\n");
    if (end >= 0) return seen.slice(0, end);
  }
  throw new Error(`the instance did not start: ${seen}`);
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It is gone already.
  }
}

// ---- a life

async function live(state: Soak, life: number): Promise<void> {
  const { options, random } = state;
  const { h, end, crash } = await start(state);
  if (life > 1) await openQueues(h);
  const isCrash = life % 2 === 1;
  const target = Math.floor((options.jobs * life) / options.lives);
  const first = state.ids.length;
  // One broker goes in the middle of every third life.
  const deathAt = life % 3 === 0 ? first + Math.floor((target - first) / 2) : Number.POSITIVE_INFINITY;
  let isWhole = true;
  while (state.ids.length < target) {
    const ids = await submitChunk(state, h);
    await Promise.all(ids.map((id) => disturb(state, h, id)));
    await meddle(state, h);
    if (isWhole && state.ids.length >= deathAt) {
      isWhole = false;
      await killBroker(state, h, 1 + Math.floor(random() * (BROKERS - 1)));
    }
    const began_ms = Date.now();
    await untilActive(h, ACTIVE_MAX);
    if (Date.now() - began_ms > STALL_MS) state.wrong.push(`life ${life}: nothing went on for ${Date.now() - began_ms} ms after ${state.ids.length} jobs`);
  }
  options.log?.(`life ${life}: ${state.ids.length} jobs so far, ends by ${isCrash ? "SIGKILL" : "itself"}`);
  count(state, isCrash ? "crashes" : "orderly ends");
  if (isCrash) {
    await crash();
    state.crashes_s.push(Date.now() / 1000);
    return;
  }
  const began_ms = Date.now();
  const code = await end();
  if (code !== 0) state.wrong.push(`life ${life} ended with exit code ${code}`);
  if (Date.now() - began_ms > END_MAX_MS) state.wrong.push(`life ${life} took ${Date.now() - began_ms} ms to end`);
  const left = processesBelow(state.folder);
  if (left.length > 0) state.wrong.push(`life ${life} left processes behind: ${left.join("; ")}`);
}

/** After a crash everything is stopped; queues that were stopped stay so over a restart. */
async function openQueues(h: Flux): Promise<void> {
  await h.rpc("job-manager.queue-enable", { enable: true, all: true });
  await h.rpc("job-manager.queue-start", { start: true, all: true });
}

function count(state: Soak, what: string): void {
  state.done[what] = (state.done[what] ?? 0) + 1;
}

/** A request that may come too late. */
async function attempt(state: Soak, what: string, request: () => Promise<unknown>): Promise<void> {
  try {
    await request();
    count(state, what);
  } catch (err) {
    const error = toFluxError(err);
    if (!TOO_LATE.has(error.errno)) state.wrong.push(`${what}: ${error.message}`);
  }
}

async function submitChunk(state: Soak, h: Flux): Promise<JobId[]> {
  const ids = await Promise.all(Array.from({ length: CHUNK }, () => submitOne(state, h)));
  state.ids.push(...ids);
  return ids;
}

async function submitOne(state: Soak, h: Flux): Promise<JobId> {
  const { random } = state;
  const kind = random();
  const isHeld = random() < 0.02;
  const urgency = isHeld ? 0 : 1 + Math.floor(random() * 31);
  const isSleeper = kind > 0.97 && state.sleepers.size < SLEEPERS_MAX;
  const id = await submitJob(h, isSleeper ? realJob(["sleep", "1000"]) : randomJob(random, kind), { urgency, flags: random() < 0.1 ? 4 : 0 });
  if (isHeld) state.held.add(id);
  if (isSleeper) state.sleepers.add(id);
  return id;
}

function realJob(command: readonly string[]): JsonObject {
  return jobspec(command);
}

function randomJob(random: () => number, kind: number): JsonObject {
  if (kind > 0.94) return realJob(["sh", "-c", `exit ${Math.floor(random() * 3)}`]);
  const test: Record<string, string | number> = { run_duration: `${1 + Math.floor(random() * 30)}ms` };
  if (kind > 0.92) test["mock_exception"] = "run";
  const isTooLong = kind > 0.9 && kind <= 0.92;
  if (isTooLong) test["run_duration"] = "60s";
  const nnodes = random() < 0.1 ? 1 + Math.floor(random() * 3) : 0;
  const ntasks = Math.max(nnodes, 1 + Math.floor(random() * 4));
  return jobspec(["true"], { nnodes, ntasks, cores: 1 + Math.floor(random() * 3), system: { duration: isTooLong ? 0.05 : 0, exec: { test } } });
}

/** What users do to their jobs. */
async function disturb(state: Soak, h: Flux, id: JobId): Promise<void> {
  const { random } = state;
  const what = random();
  if (what < 0.03) await attempt(state, "cancels", () => cancelJob(h, id));
  else if (what < 0.05) await attempt(state, "signals", () => killJob(h, id, 15));
  else if (what < 0.08) await attempt(state, "urgencies", () => setUrgency(h, id, 1 + Math.floor(random() * 31)).then(() => state.held.delete(id)));
  else if (what < 0.1) await attempt(state, "updates", () => h.rpc("job-manager.update", { id, updates: { "attributes.system.duration": 0.5 + random() } }));
  else if (what < 0.11) await attempt(state, "exceptions", () => h.rpc("job-manager.raise", { id, type: "note", severity: 2, note: "soak" }));
}

/** What administrators do to the instance. */
async function meddle(state: Soak, h: Flux): Promise<void> {
  const { random } = state;
  const rank = String(Math.floor(random() * BROKERS));
  const what = random();
  if (what < 0.2) await attempt(state, "drains", () => h.rpc("resource.drain", { targets: rank, reason: "soak", mode: "update" }, { nodeid: 0 }));
  else if (what < 0.5) await attempt(state, "undrains", () => h.rpc("resource.undrain", { targets: `0-${BROKERS - 1}`, mode: "update" }, { nodeid: 0 }));
  else if (what < 0.6) await attempt(state, "queue stops", () => h.rpc("job-manager.queue-start", { start: false, stop_reason: "soak", all: true }));
  else if (what < 0.8) await attempt(state, "queue starts", () => h.rpc("job-manager.queue-start", { start: true, all: true }));
  for (const id of state.sleepers) {
    if (random() > 0.2) continue;
    state.sleepers.delete(id);
    await attempt(state, "sleepers killed", () => (random() < 0.5 ? killJob(h, id, 9) : cancelJob(h, id)));
    // A signal may have come before it ran.
    await attempt(state, "sleepers cancelled", () => cancelJob(h, id));
  }
}

async function killBroker(state: Soak, h: Flux, rank: number): Promise<void> {
  const { value } = await h.rpc("attr.get", { name: "broker.pid" }, { nodeid: rank });
  kill(Number(value));
  count(state, "brokers killed");
}

/** Resolves when at most `max` jobs are active: looks after each that ends. */
async function untilActive(h: Flux, max: number): Promise<void> {
  await h.rpc("resource.undrain", { targets: `0-${BROKERS - 1}`, mode: "update" }, { nodeid: 0 });
  await h.rpc("job-manager.queue-start", { start: true, all: true });
  const journal = h.stream("job-manager.events-journal", { full: false, allow: { clean: 1 } }, { cancelTopic: "job-manager.events-journal-cancel" });
  try {
    let active = await activeJobs(h);
    for await (const item of journal) {
      if (active <= max) return;
      const { events } = item as { events?: unknown[] };
      active -= events?.length ?? 0;
      if (active <= max) active = await activeJobs(h);
    }
  } finally {
    await journal.return();
  }
}

async function activeJobs(h: Flux): Promise<number> {
  const { job_states: states } = (await h.rpc("job-list.job-stats")) as { job_states: Record<string, number> };
  return (states["total"] ?? 0) - (states["inactive"] ?? 0);
}

// ---- the end

async function lastLife(state: Soak): Promise<Record<string, number>> {
  const { h, end } = await start(state);
  await openQueues(h);
  await h.rpc("resource.undrain", { targets: `0-${BROKERS - 1}`, mode: "update" }, { nodeid: 0 });
  while (state.ids.length < state.options.jobs) {
    await submitChunk(state, h);
    await untilActive(h, ACTIVE_MAX);
  }
  for (const id of [...state.held, ...state.sleepers]) await attempt(state, "cancels", () => cancelJob(h, id));
  await h.rpc("job-manager.drain");
  state.options.log?.(`last life: ${state.ids.length} jobs, all over`);
  const results = await check(state, h);
  const code = await end();
  if (code !== 0) state.wrong.push(`the last life ended with exit code ${code}`);
  return results;
}

async function check(state: Soak, h: Flux): Promise<Record<string, number>> {
  const listed = await listJobs(h);
  const results: Record<string, number> = {};
  const histories: JobHistory[] = [];
  for (const id of new Set([...state.ids, ...listed.keys()])) {
    const history = await readHistory(state, h, id);
    if (history === undefined) continue;
    histories.push(history);
    const result = resultAbbreviation(outcomeOf(history.events).result);
    results[result] = (results[result] ?? 0) + 1;
    const shown = listed.get(id) ?? (await listedResult(h, id));
    if (shown !== result) state.wrong.push(`${history.id}: job-list says ${shown}, its eventlog ${result}: ${storyOf(history)}`);
  }
  state.wrong.push(...checkHistory(histories, state.crashes_s));
  if (new Set(state.ids).size !== state.ids.length) state.wrong.push("an id was given twice");
  const { allocated } = await h.rpc("resource.sched-status", undefined, { nodeid: 0 });
  const kept = Rset.parse(allocated).ranks;
  if (!kept.isEmpty) state.wrong.push(`the scheduler still has resources allocated on ranks ${kept.toString()}`);
  return results;
}

/** The events of a job in a line. */
function storyOf({ events }: JobHistory): string {
  return events.map(({ timestamp, name }) => `${timestamp.toFixed(3)} ${name}`).join(", ");
}

/** Results of the jobs that the list has as over. */
async function listJobs(h: Flux): Promise<Map<JobId, string>> {
  const { jobs } = await h.rpc("job-list.list", { max_entries: 0, attrs: ["result", "state"], constraint: {} });
  const over = (jobs as JsonObject[]).filter((job) => job["state"] === STATE.INACTIVE);
  return new Map(over.map((job) => [unpack(job, { id: jobid }).id, resultAbbreviation(Number(job["result"]))]));
}

/** The same of one job, when the list has heard of its end: it follows the job manager at a distance. */
async function listedResult(h: Flux, id: JobId): Promise<string> {
  try {
    const { job } = await h.rpc("job-list.list-id", { id, attrs: ["result"], state: STATE.INACTIVE }, { timeout_ms: 10_000 });
    return resultAbbreviation(Number((job as JsonObject)["result"]));
  } catch (err) {
    return toFluxError(err).message;
  }
}

async function readHistory(state: Soak, h: Flux, id: JobId): Promise<JobHistory | undefined> {
  const name = formatJobId(id, "f58");
  try {
    const { eventlog } = (await h.rpc("job-info.lookup", { id, keys: ["eventlog"], flags: 0 })) as { eventlog: string };
    const events = [...parseEventlog(eventlog)];
    if (!events.some((event) => event.name === "alloc")) return { id: name, events, R: undefined };
    const { R } = (await h.rpc("job-info.lookup", { id, keys: ["R"], flags: 0 })) as { R: string };
    return { id: name, events, R: decodeJson(R) };
  } catch (err) {
    state.wrong.push(`${name} was acknowledged and is lost: ${toFluxError(err).message}`);
    return undefined;
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { jobs: { type: "string", default: "20000" }, seed: { type: "string", default: "1" }, lives: { type: "string", default: "8" } } });
  const began_ms = Date.now();
  const report = await soak({ jobs: Number(values.jobs), seed: Number(values.seed), lives: Number(values.lives), log: (line) => console.error(line) });
  console.log(JSON.stringify({ seconds: (Date.now() - began_ms) / 1000, results: report.results, done: report.done }, null, 2));
  for (const line of report.wrong.slice(0, 50)) console.log(`WRONG: ${line}`);
  console.log(report.wrong.length === 0 ? "nothing was lost" : `${report.wrong.length} things are wrong`);
  process.exitCode = report.wrong.length === 0 ? 0 : 1;
}
