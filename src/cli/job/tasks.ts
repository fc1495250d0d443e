// flux job taskmap, hostpids, timeleft: where the tasks of a job are, and for how long.
import type { Flux } from "../../client/flux.ts";
import { EVENTLOG_WATCH } from "../../client/job-info.ts";
import { ACTIVE, STATE } from "../../client/jobs.ts";
import { type JobId, parseJobId } from "../../formats/fluid.ts";
import { formatDuration } from "../../formats/fsd.ts";
import type { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { decodeProctable } from "../../formats/proctable.ts";
import { Taskmap } from "../../formats/taskmap.ts";
import { errno, isErrno } from "../../message/errno.ts";
import { fields, int, num, opt, str, unpack } from "../../message/unpack.ts";
import { defineCommand, flag, text, UsageError, value } from "../command.ts";
import { withFlux } from "../connect.ts";
import { jobIdArgument } from "../job-id.ts";
import { eventOfResponse } from "../job-output.ts";
import { integer, seconds } from "../options.ts";
import { print, wrongUsage } from "../output.ts";
import { problemOf } from "../table.ts";
import { FormatError } from "../../formats/error.ts";

/** The contexts of shell.init and shell.start; throws what `h` throws, and UsageError when the job's shells never started. */
async function shellEvents(h: Flux, id: JobId, flags: number, timeout_s?: number): Promise<{ init: JsonObject; start: JsonObject }> {
  const stream = h.stream("job-info.eventlog-watch", { id, path: "guest.exec.eventlog", flags }, { cancelTopic: "job-info.eventlog-watch-cancel" });
  let timedOut = false;
  const expire = (): void => {
    timedOut = true;
    void stream.return();
  };
  const timer = timeout_s === undefined ? undefined : setTimeout(expire, timeout_s * 1000);
  let init: JsonObject = {};
  try {
    for await (const response of stream) {
      const event = eventOfResponse(response);
      if (event?.name === "shell.init") init = event.context ?? {};
      if (event?.name === "shell.start") return { init, start: event.context ?? {} };
    }
  } finally {
    clearTimeout(timer);
  }
  throw new UsageError(timedOut ? "timeout waiting for shell.start event" : "No taskmap found for job");
}

// ---- taskmap

const TASKMAP_OPTIONS = {
  taskids: value("--taskids NODEID", "tasks of a node", integer(0)),
  ntasks: value("--ntasks NODEID", "number of tasks of a node", integer(0)),
  nodeid: value("--nodeid TASKID", "node of a task", integer(0)),
  hostname: value("--hostname TASKID", "host of a task", integer(0)),
  to: text("--to FORMAT", "another form: raw, pmi, hosts or multiline"),
} as const;

export const taskmap = defineCommand({
  name: "taskmap",
  style: "getopt",
  summary: "show which tasks of a job are where",
  usage: "[OPTION] JOBID|TASKMAP",
  details: "Show how the tasks of a job map to its nodes (RFC 34).\n\nExample:\n  flux job taskmap --to=hosts ƒ2d4mS3y",
  options: TASKMAP_OPTIONS,
  async run({ options, args }) {
    const [word] = args;
    if (word === undefined) throw wrongUsage("flux job taskmap [OPTION] JOBID|TASKMAP");
    const id = idOrNothing(word);
    if (id === undefined && (options.hostname !== undefined || options.to === "hosts")) {
      throw new UsageError(`taskmap: can't use ${options.to === "hosts" ? "--to=hosts" : "--hostname"} without a jobid`);
    }
    if (id === undefined) {
      showTaskmap(parseTaskmap(word), options, undefined);
      return 0;
    }
    return withFlux(async (h) => {
      const map = await taskmapOf(h, id);
      const hosts = options.hostname !== undefined || options.to === "hosts" ? await hostsOf(h, id) : undefined;
      showTaskmap(map, options, hosts);
      return 0;
    });
  },
});

function idOrNothing(word: string): JobId | undefined {
  try {
    return parseJobId(word);
  } catch {
    return undefined;
  }
}

function parseTaskmap(input: unknown): Taskmap {
  try {
    return Taskmap.parse(input);
  } catch (err) {
    throw err instanceof FormatError ? new UsageError(`error decoding taskmap: ${problemOf(err)}`) : err;
  }
}

async function taskmapOf(h: Flux, id: JobId): Promise<Taskmap> {
  try {
    return parseTaskmap((await shellEvents(h, id, 0)).start["taskmap"]);
  } catch (err) {
    throw isErrno(err, errno.ENOENT) ? new UsageError("Unable to get job taskmap: no such job") : err;
  }
}

async function hostsOf(h: Flux, id: JobId): Promise<Hostlist> {
  const { Rset } = await import("../../formats/rset.ts");
  const { R } = unpack(await h.rpc("job-info.lookup", { id, keys: ["R"], flags: 0 }), { R: str });
  return Rset.parse(R).hosts;
}

interface TaskmapQuestion {
  readonly taskids: number | undefined;
  readonly ntasks: number | undefined;
  readonly nodeid: number | undefined;
  readonly hostname: number | undefined;
  readonly to: string | undefined;
}

function showTaskmap(map: Taskmap, question: TaskmapQuestion, hosts: Hostlist | undefined): void {
  const task = question.nodeid ?? question.hostname;
  if (question.taskids !== undefined) {
    const ids = map.taskids(question.taskids);
    if (ids.isEmpty) throw new UsageError(`No taskids for node ${question.taskids}: No such file or directory`);
    print(ids.toString({ brackets: false }));
  } else if (question.ntasks !== undefined) {
    if (question.ntasks >= map.nnodes) throw new UsageError(`failed to get task count for node ${question.ntasks}: No such file or directory`);
    print(String(map.ntasksOf(question.ntasks)));
  } else if (task !== undefined) {
    const nodeid = map.nodeid(task);
    if (nodeid === undefined) throw new UsageError(`failed to get nodeid for task ${task}: No such file or directory`);
    print(question.hostname === undefined ? String(nodeid) : (hosts?.nth(nodeid) ?? ""));
  } else print(...taskmapLines(map, question.to, hosts));
}

function taskmapLines(map: Taskmap, to: string | undefined, hosts: Hostlist | undefined): string[] {
  const nodeids = [...map.nodeids()];
  switch (to) {
    case undefined:
      return [map.toString("json")];
    case "raw":
    case "pmi":
      return [map.toString(to)];
    case "multiline":
      return nodeids.map((nodeid, task) => `${task}: ${nodeid}`);
    case "hosts":
      return [...new Set(nodeids)].toSorted((a, b) => a - b).map((nodeid) => `${hosts?.nth(nodeid) ?? "?"}: ${map.taskids(nodeid).toString({ brackets: false })}`);
    default:
      throw new UsageError(`invalid value --to=${to}`);
  }
}

// ---- hostpids

export const hostpids = defineCommand({
  name: "hostpids",
  style: "getopt",
  summary: "print host:pid of the tasks of a job",
  usage: "[OPTIONS] JOBID",
  options: {
    delimiter: text("-d, --delimiter STRING", "what goes between them (default: a comma)"),
    ranks: text("-r, --ranks IDSET", "only of these task ranks"),
    timeout: value("-t, --timeout DURATION", "give up after this long", seconds),
  },
  run({ options, args }) {
    const [word] = args;
    if (word === undefined || args.length !== 1) throw wrongUsage("flux job hostpids [OPTIONS] JOBID");
    const id = jobIdArgument(word);
    const ranks = options.ranks === undefined || options.ranks === "all" ? undefined : IdSet.parse(options.ranks);
    return withFlux(async (h) => {
      await requireActive(h, id, word);
      const { init } = await shellEvents(h, id, EVENTLOG_WATCH.WAITCREATE, options.timeout);
      const { service, "leader-rank": nodeid } = unpack(init, { service: str, "leader-rank": int });
      const table = decodeProctable(await h.rpc(`${service}.proctable`, {}, { nodeid }));
      const pairs = table.filter(({ taskid }) => ranks?.has(taskid) !== false).map(({ host, pid }) => `${host}:${pid}`);
      const delimiter = options.delimiter === "\\n" ? "\n" : (options.delimiter ?? ",");
      print(pairs.join(delimiter));
      return 0;
    });
  },
});

async function requireActive(h: Flux, id: JobId, word: string): Promise<void> {
  let answer: JsonObject;
  try {
    answer = await h.rpc("job-list.list-id", { id, attrs: ["state"] });
  } catch (err) {
    throw isErrno(err, errno.ENOENT) ? new UsageError(`${word}: No such job`) : err;
  }
  const { state } = unpack(answer, { job: fields({ state: int }) }).job;
  if ((state & ACTIVE) === 0) throw new UsageError(`hostpids: job ${word} is inactive`);
}

// ---- timeleft

/** What people who ask for whole seconds get for "unlimited". */
const UNLIMITED_S = 4294967295;

export const timeleft = defineCommand({
  name: "timeleft",
  style: "getopt",
  summary: "print the time left to a job, or to the instance",
  usage: "[JOBID]",
  options: { human: flag("-H, --human", "as a duration instead of seconds") },
  run({ options, args }) {
    if (args.length > 1) throw wrongUsage("flux job timeleft [JOBID]");
    const word = args[0] ?? process.env["FLUX_JOB_ID"];
    return withFlux(async (h) => {
      const left_s = word === undefined ? await instanceTimeLeft_s(h) : await jobTimeLeft_s(h, jobIdArgument(word), word);
      if (options.human) print(formatDuration(left_s));
      else print(String(left_s === Number.POSITIVE_INFINITY ? UNLIMITED_S : left_s > 0 && left_s < 1 ? 1 : Math.floor(left_s)));
      return 0;
    });
  },
});

function untilExpiration_s(expiration_s: number): number {
  return expiration_s === 0 ? Number.POSITIVE_INFINITY : Math.max(0, expiration_s - Date.now() / 1000);
}

async function jobTimeLeft_s(h: Flux, id: JobId, word: string): Promise<number> {
  let answer: JsonObject;
  try {
    answer = await h.rpc("job-list.list-id", { id, attrs: ["expiration", "state"] });
  } catch (err) {
    throw isErrno(err, errno.ENOENT) ? new UsageError(`${word}: no such jobid`) : err;
  }
  const { state, expiration } = unpack(answer, { job: fields({ state: int, expiration: opt(num) }) }).job;
  if (state < STATE.RUN) throw new UsageError(`job ${word} has not started`);
  return state === STATE.RUN ? untilExpiration_s(expiration ?? 0) : 0;
}

async function instanceTimeLeft_s(h: Flux): Promise<number> {
  const { R } = await h.rpc("resource.status", undefined, { nodeid: 0 });
  const execution = isJsonObject(R) ? R["execution"] : undefined;
  const expiration = isJsonObject(execution) ? execution["expiration"] : undefined;
  return untilExpiration_s(typeof expiration === "number" ? expiration : 0);
}
