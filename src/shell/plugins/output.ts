// output: what tasks write goes to the job's output eventlog (RFC 24) or to files, with the shell's own messages.
//
// The leader writes the eventlog and files shared by all tasks; the other shells send it their entries (SERVICE.write, one request at
// a time, answered when there is room for more). Files of single tasks or nodes are written where the tasks are. While the KVS or the
// leader is behind, the tasks' output is not read, and they wait in write(2).
import { isUtf8 } from "node:buffer";
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import { decodeIo, encodeData, ioHeader, ioRedirect } from "../../formats/stdio.ts";
import { errno, isErrno, toFluxError } from "../../message/errno.ts";
import { arr, fields, obj, str } from "../../message/unpack.ts";
import { openGuestLog, type GuestLog } from "../guest-log.ts";
import { splitCharacters, splitLines, type Splitter } from "../../formats/lines.ts";
import { formatShellLog, isWanted, LOG, logContext, type ShellLog } from "../log.ts";
import { labelled, outputFiles, type OutputFiles } from "../output-file.ts";
import { type OutputOptions, outputOptions, type StreamOptions } from "../output-options.ts";
import type { Plugin } from "../plugin.ts";
import { eventLine, type GuestKey } from "../protocol.ts";
import type { Shell } from "../shell.ts";
import type { Task } from "../task.ts";
import { isPerTaskOfNode, renderFor } from "../template.ts";

type StreamName = "stdout" | "stderr";

/** What the input plugin and the log share with output. */
export interface Output extends Plugin {
  readonly log: ShellLog;
  /** Leader: adds an entry to a guest eventlog. */
  append(key: GuestKey, name: string, context: JsonObject): void;
  /** How long a guest eventlog's entries may wait. */
  setBatch(key: GuestKey, batch_ms: number): void;
}

/** Where entries go: the leader's eventlog and files, or the leader. */
interface Sink {
  data(stream: StreamName, rank: string, data: Uint8Array | undefined, eof: boolean): void;
  log(context: JsonObject): void;
  close(): Promise<void>;
}

/** Messages before the options are known. */
const EARLY_MAX = 1000;

export function outputPlugin(shell: Shell): Output {
  let options: OutputOptions | undefined;
  let sink: Sink | undefined;
  let openRemote: (() => void) | undefined;
  let guest: GuestLog | undefined;
  let files: OutputFiles | undefined;
  /** stderr of this node's tasks has a file of its own. */
  let ownLog: ((line: Uint8Array) => void) | undefined;
  const early: JsonObject[] = [];
  const setPaused = (paused: boolean): void => pauseTasks(shell, paused);

  const log: ShellLog = (level, text, component) => {
    if (!isWanted(level, shell.verbose)) return;
    const context = logContext(shell.job.shellRank, level, text, component);
    if (ownLog !== undefined) ownLog(Buffer.from(formatShellLog(context)));
    else if (sink !== undefined) sink.log(context);
    else if (early.length < EARLY_MAX) early.push(context);
  };

  const openGuest = (batch_ms: number): GuestLog =>
    openGuestLog({
      h: shell.h,
      clock: shell.host.clock,
      namespace: shell.job.namespace,
      batch_ms,
      onPressure: setPaused,
      onError: (error) => shell.fatal(1, `failed to write the job's output: ${error.message}`),
    });

  const begin = (chosen: OutputOptions): void => {
    files = outputFiles(shell.spawn.cwd ?? "/");
    if (shell.isLeader) {
      guest = openGuest(chosen.batch_ms);
      const leader = leaderSink(shell, chosen, guest, files);
      serveWrite(shell, leader, guest);
      sink = leader;
      // What is said before this, mostly of options, is for who watches the job, also when stderr is a file.
      for (const context of early.splice(0)) guest.append("output", eventLine(shell.host.clock.now_s(), "log", context));
    } else {
      const remote = remoteSink(shell, chosen, setPaused);
      openRemote = () => remote.open();
      sink = remote;
    }
    for (const context of early.splice(0)) sink.log(context);
    const { path, perTask } = chosen.stderr;
    if (path === undefined || !perTask || isPerTaskOfNode(path)) return;
    const real = renderFor(shell, path, { shellRank: shell.job.shellRank });
    const file = files.open(real, chosen.append);
    ownLog = guarded(shell, real, (line: Uint8Array) => file.write(line));
  };

  return {
    name: "output",
    log,
    append(key, name, context) {
      guest?.append(key, eventLine(shell.host.clock.now_s(), name, context));
    },
    setBatch: (key, batch_ms) => guest?.setBatch(key, batch_ms),
    init() {
      options = outputOptions(shell);
      begin(options);
    },
    // Before, the leader may not be there yet.
    allReady: () => openRemote?.(),
    taskInit(_shell, task) {
      if (options === undefined || sink === undefined || files === undefined) return;
      connect(shell, task, "stdout", options.stdout, { options, sink, files });
      connect(shell, task, "stderr", options.stderr, { options, sink, files });
    },
    firstReport() {
      for (const [key, text] of Object.entries(guest?.take() ?? {})) shell.appendNext(key as GuestKey, text);
    },
    logged: () => guest?.open(),
    async exit() {
      // A shell that failed before it knew its options still has something to say.
      if (sink === undefined && early.length > 0) {
        if (shell.isLeader) for (const context of early.splice(0)) shell.appendNext("output", eventLine(shell.host.clock.now_s(), "log", context));
        else await shell.call(0, "write", { entries: early.splice(0).map((context) => ({ name: "log", context })) }).catch(() => undefined);
      }
      await sink?.close();
      ownLog = undefined;
      files?.close();
      if (guest === undefined) return;
      for (const [key, text] of Object.entries(await guest.close())) shell.appendNext(key as GuestKey, text);
      sink = undefined;
      guest = undefined;
    },
  };
}

function pauseTasks(shell: Shell, paused: boolean): void {
  for (const { child } of shell.tasks) {
    for (const stream of [child?.stdout, child?.stderr]) {
      if (paused) stream?.pause();
      else stream?.resume();
    }
  }
}

/** Labels are of little use in a job with one task: when it writes so much at once, its lines share an event. */
const BULK_BYTES = 16 << 10;

/** Attaches a task's stream: cut into lines or characters, to a file of its own or to the sink. */
function connect(
  shell: Shell,
  task: Task,
  name: StreamName,
  how: StreamOptions,
  to: { options: OutputOptions; sink: Sink; files: OutputFiles },
): void {
  const rank = String(task.rank);
  const own = how.perTask && how.path !== undefined;
  const emit = own ? ownFile(shell, task, how, to) : (data: Uint8Array) => to.sink.data(name, rank, data, false);
  const bulk_bytes = shell.job.ntasks === 1 ? BULK_BYTES : Infinity;
  const splitter: Splitter = how.lineBuffered || how.label ? splitLines(emit, bulk_bytes) : splitCharacters(emit);
  const push = (chunk: Uint8Array): void => splitter.push(chunk);
  const end = (): void => {
    splitter.end();
    if (!own) to.sink.data(name, rank, undefined, true);
  };
  if (name === "stdout") Object.assign(task, { onStdout: push, onStdoutEnd: end });
  else Object.assign(task, { onStderr: push, onStderrEnd: end });
}

function ownFile(shell: Shell, task: Task, how: StreamOptions, to: { options: OutputOptions; files: OutputFiles }): (data: Uint8Array) => void {
  const path = renderFor(shell, how.path ?? "", { shellRank: shell.job.shellRank, task });
  const file = to.files.open(path, to.options.append);
  return guarded(shell, path, (data) => file.write(how.label ? labelled(String(task.rank), data) : data));
}

/** A write that fails ends the job with a message that names the file. */
function guarded<T>(shell: Shell, path: string, write: (data: T) => void): (data: T) => void {
  return (data) => {
    try {
      write(data);
    } catch (err) {
      shell.fatal(1, `error writing output file '${path}': ${toFluxError(err).message}`);
    }
  };
}

/** Text of a data event: made by hand, because most of a job's bytes pass here. */
function dataLine(now_s: number, stream: StreamName, rank: string, data: Uint8Array | undefined, eof: boolean): string {
  const head = `{"timestamp":${Number.isInteger(now_s) ? `${now_s}.0` : now_s},"name":"data","context":{"stream":"${stream}","rank":"${rank}"`;
  const end = eof ? ',"eof":true}}\n' : "}}\n";
  if (data === undefined || data.length === 0) return head + end;
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  if (isUtf8(bytes) && !bytes.includes(0)) return `${head},"data":${JSON.stringify(bytes.toString("utf8"))}${end}`;
  return `${head},"encoding":"base64","data":"${bytes.toString("base64")}"${end}`;
}

function leaderSink(shell: Shell, options: OutputOptions, guest: GuestLog, files: OutputFiles): Sink {
  const { job } = shell;
  const now = (): number => shell.host.clock.now_s();
  guest.append("output", eventLine(now(), "header", ioHeader({ stdout: job.ntasks, stderr: job.ntasks })));
  const written = { stdout: 0, stderr: 0 };
  const shared = { stdout: sharedFile(shell, options, options.stdout, files), stderr: sharedFile(shell, options, options.stderr, files) };
  for (const name of ["stdout", "stderr"] as const) {
    const { path } = options[name];
    if (path !== undefined) guest.append("output", eventLine(now(), "redirect", ioRedirect(name, allRanks(job.ntasks), renderFor(shell, path, {}))));
  }
  const limited = (name: StreamName, size: number): boolean => {
    const before = written[name];
    written[name] = before + size;
    if (written[name] <= options.limit_bytes) return false;
    if (before <= options.limit_bytes) shell.log(LOG.warning, `${name} will be truncated, ${options.limitText} limit exceeded`, "output.kvs");
    return true;
  };
  return {
    data(name, rank, data, eof) {
      const file = shared[name];
      if (file !== undefined) {
        if (data !== undefined) file(options[name].label ? labelled(rank, data) : data);
        return;
      }
      const cut = data !== undefined && limited(name, data.length);
      if (cut && !eof) return;
      guest.append("output", dataLine(now(), name, rank, cut ? undefined : data, eof));
    },
    log(context) {
      if (shared.stderr !== undefined) shared.stderr(Buffer.from(formatShellLog(context)));
      else guest.append("output", eventLine(now(), "log", context));
    },
    async close() {
      for (const name of ["stderr", "stdout"] as const) {
        const over = written[name] - options.limit_bytes;
        if (over > 0) shell.log(LOG.warning, `${name}: ${over} of ${written[name]} bytes truncated`, "output.kvs");
      }
    },
  };
}

function sharedFile(shell: Shell, options: OutputOptions, how: StreamOptions, files: OutputFiles): ((data: Uint8Array) => void) | undefined {
  if (how.path === undefined || how.perTask) return undefined;
  const path = renderFor(shell, how.path, { shellRank: shell.job.shellRank });
  const file = files.open(path, options.append);
  return guarded(shell, path, (data) => file.write(data));
}

function allRanks(ntasks: number): string {
  return IdSet.range(0, Math.max(0, ntasks - 1)).toString({ brackets: true });
}

/** Takes entries of the other shells; answers when there is room for more. */
function serveWrite(shell: Shell, sink: Sink, guest: GuestLog): void {
  shell.serve("write", async (request) => {
    const { entries } = request.unpack({ entries: arr(fields({ name: str, context: obj })) });
    for (const { name, context } of entries) {
      if (name === "log") sink.log(context);
      else {
        const { stream, rank, data, eof } = decodeIo(context);
        sink.data(stream === "stderr" ? "stderr" : "stdout", rank, data, eof);
      }
    }
    await guest.room();
  });
}

/** Bytes that wait for the leader before the tasks are paused. */
const REMOTE_PRESSURE_BYTES = 2 << 20;
const REMOTE_BATCH_BYTES = 256 << 10;

function remoteSink(shell: Shell, { lwm, hwm }: OutputOptions, setPaused: (paused: boolean) => void): Sink & { open(): void } {
  let entries: { name: string; context: JsonObject; size: number }[] = [];
  let waiting_bytes = 0;
  let paused = false;
  let sending: Promise<void> | undefined;
  /** Entries in the request that is under way. */
  let inFlight = 0;
  let scheduled = false;
  let isOpen = false;

  const pause = (now: boolean): void => {
    paused = now;
    shell.log(LOG.debug, `flow control ${now ? "stop" : "start"}`, "output.client");
    setPaused(now);
  };
  const send = (): void => {
    scheduled = false;
    if (!isOpen || sending !== undefined || entries.length === 0) return;
    let count = 0;
    let size = 0;
    while (count < entries.length && size < REMOTE_BATCH_BYTES) size += entries[count++]?.size ?? 0;
    const batch = entries.slice(0, count).map(({ name, context }) => ({ name, context }));
    entries = entries.slice(count);
    inFlight = count;
    sending = shell
      .call(0, "write", { entries: batch })
      .then(() => undefined)
      .catch((err: unknown) => shell.h.log(isErrno(err, errno.ENOSYS) ? LOG.debug : LOG.error, `job ${shell.job.f58}: output to the leader shell: ${toFluxError(err).message}`))
      .then(() => {
        sending = undefined;
        inFlight = 0;
        waiting_bytes -= size;
        if (paused && waiting_bytes < REMOTE_PRESSURE_BYTES / 2 && entries.length <= lwm) pause(false);
        send();
      });
  };
  const add = (name: string, context: JsonObject, size: number): void => {
    entries.push({ name, context, size });
    waiting_bytes += size;
    if (!scheduled && sending === undefined) {
      scheduled = true;
      setImmediate(send);
    }
    if (!paused && (waiting_bytes > REMOTE_PRESSURE_BYTES || entries.length + inFlight >= hwm)) pause(true);
  };
  return {
    data(stream, rank, data, eof) {
      add("data", ioContext(stream, rank, data, eof), (data?.length ?? 0) + 64);
    },
    log: (context) => add("log", context, 256),
    open() {
      isOpen = true;
      send();
    },
    async close() {
      isOpen = true;
      for (;;) {
        if (sending !== undefined) await sending;
        else if (entries.length > 0) send();
        else return;
      }
    },
  };
}

function ioContext(stream: StreamName, rank: string, data: Uint8Array | undefined, eof: boolean): JsonObject {
  const end = eof ? { eof: true } : {};
  if (data === undefined) return { stream, rank, ...end };
  return { stream, rank, ...encodeData(data), ...end };
}
