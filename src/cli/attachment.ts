// Attachment: what `flux run` and `flux job attach` do with a job: show its output, errors and events, send it our stdin and
// signals, and end with its exit code.
//
// Two eventlogs are watched from the start, the job's and its execution's (guest.exec.eventlog); the shell.init event of the
// second says that there is output (guest.output) and where stdin goes. Nothing waits for a round trip that it doesn't need.
import type { Flux } from "../client/flux.ts";
import { EVENTLOG_WATCH } from "../client/job-info.ts";
import type { JobId } from "../formats/fluid.ts";
import { encodeJson, type JsonObject } from "../formats/json.ts";
import { describeShellStatus, shellExitCode } from "../formats/waitstatus.ts";
import { errno, isErrno, toFluxError } from "../message/errno.ts";
import type { Stream } from "../client/stream.ts";
import { UsageError } from "./command.ts";
import type { DebugRequest } from "./debugger.ts";
import { createTerminalSink, eventOfResponse, memberText, type OutputSink, putData, redirectText, shellLogText, type ShownEvent } from "./job-output.ts";
import { catchSignals } from "./job-signals.ts";
import { createStatusLine, type StatusLineOptions } from "./job-status-line.ts";
import type { PtyClient } from "./pty-client.ts";
import { closeStdin, forwardStdin, type StdinForwarder, type StdinTarget } from "./job-stdin.ts";

export interface AttachOptions extends StatusLineOptions {
  readonly showExec?: boolean;
  /** Stop following the job's events after this one; default "clean". */
  readonly waitEvent?: string | undefined;
  readonly labelIo?: boolean;
  readonly verbose?: boolean;
  readonly quiet?: boolean;
  /** The job was submitted by us: it is not to run any more when we are told to end before it has tasks. */
  readonly isOurs?: boolean;
  /** Leave stdin and signals alone. */
  readonly readOnly?: boolean;
  /** Ranks that get our stdin; default all. */
  readonly stdinRanks?: string | undefined;
  /** Of the output so far show only the last so many lines. */
  readonly tail?: number | undefined;
  /** A parallel debugger is to know of the tasks. */
  readonly debug?: DebugRequest | undefined;
  /** Where output goes; default: our own stdout and stderr. */
  readonly sink?: OutputSink & { flush(): void };
}

/** Follows the job to its end; resolves to the exit code for our caller. Throws UsageError. */
export async function attachJob(h: Flux, id: JobId, options: AttachOptions): Promise<number> {
  const sink = options.sink ?? createTerminalSink();
  let pty: PtyClient | undefined;
  // A terminal in raw mode needs to be told where a line begins.
  const say = (text: string): void => {
    status.clear();
    sink.stderr(`${text}${pty?.attached === true ? "\r\n" : "\n"}`);
  };
  const streams = new Set<Stream>();
  const watch = (path: string, flags: number): Stream => {
    const stream = h.stream("job-info.eventlog-watch", { id, path, flags }, { cancelTopic: "job-info.eventlog-watch-cancel" });
    streams.add(stream);
    return stream;
  };
  let start_s: number | undefined;
  let code = 1;
  let fatal = false;
  let finished = false;
  /** How the job finished, for people: said when its output has been shown. */
  let finishText = "";
  let stdin: StdinForwarder | undefined;
  let target: StdinTarget | undefined;
  let output: Promise<void> | undefined;
  let captured = false;
  const gaveUp = Promise.withResolvers<never>();
  /** Two eventlogs are shown as one: what goes before the execution has been shown, and the execution. */
  const begun = Promise.withResolvers<void>();
  const executed = Promise.withResolvers<void>();
  const since = (event: ShownEvent): string => `${(event.timestamp - (start_s ?? event.timestamp)).toFixed(3)}s`;
  const showEvent = (kind: string, event: ShownEvent): void =>
    say(`${since(event)}: ${kind}.${event.name}${event.context === undefined ? "" : ` ${encodeJson(event.context)}`}`);
  const startStdin = (): void => {
    if (options.readOnly === true || target === undefined || fatal || finished) return;
    stdin = forwardStdin(h, target);
    stdin.done.catch((err: unknown) => gaveUp.reject(err));
  };
  const status = createStatusLine(h, id, options, (text) => sink.stderr(text));

  // ---- the job's own eventlog

  const onException = (event: ShownEvent): void => {
    const { type, severity, note } = event.context ?? {};
    say(`${since(event)}: job.exception ${options.shownId} type=${memberText(type)} severity=${memberText(severity)} ${memberText(note)}`);
    if (severity !== 0) return;
    fatal = true;
    status.end();
    stdin?.stop();
    if (pty?.attached === false) pty.stop();
  };
  const onFinish = (event: ShownEvent): void => {
    const waitStatus = Number(event.context?.["status"] ?? 0);
    code = shellExitCode(waitStatus);
    finished = true;
    finishText = describeShellStatus(waitStatus);
  };
  const onJobEvent = (event: ShownEvent): void => {
    start_s ??= event.timestamp;
    if (event.name === "exception") onException(event);
    else {
      if (event.name === "finish") onFinish(event);
      if (options.showEvents === true) showEvent("job", event);
    }
    status.event(event, start_s);
  };

  // ---- the execution's eventlog

  const onShellInit = async (context: JsonObject): Promise<void> => {
    const { service, "leader-rank": leaderRank, pty: ptyName } = context;
    if (typeof service !== "string" || typeof leaderRank !== "number") throw new UsageError("error decoding shell.init context");
    target = { service, leaderRank, ranks: options.stdinRanks ?? "all" };
    startOutput();
    if (typeof ptyName === "string") await startPty(`${service}.${ptyName}`, leaderRank, context["capture"] === 1);
    else if (options.stdinRanks === undefined) startStdin();
  };
  const startPty = async (topic: string, leaderRank: number, capture: boolean): Promise<void> => {
    if (options.readOnly === true) return gaveUp.reject(new UsageError("Cannot connect to pty in readonly mode"));
    if (finished) return;
    const { attachPty } = await import("./pty-client.ts");
    pty = attachPty(h, topic, leaderRank);
    captured = capture;
    // Without the terminal (the job may be over) its output is shown as that of any job.
    void pty.done.then((taken) => {
      if (!taken) startStdin();
      else if (pty?.detached === true) {
        code = 0;
        for (const stream of streams) void stream.return();
      }
    });
  };
  const onShellStart = async (context: JsonObject): Promise<void> => {
    if (options.debug !== undefined && target !== undefined) {
      const { showTasks } = await import("./debugger.ts");
      await showTasks(h, id, { service: target.service, leaderRank: target.leaderRank, stopped: context["sync"] === true }, options.debug);
    }
    if (target === undefined || options.stdinRanks === undefined) return;
    const { open, others } = await splitStdinRanks(options.stdinRanks, context["taskmap"], say);
    if (others !== "") await closeStdin(h, { ...target, ranks: others }).catch((err: unknown) => say(`flux-job: ${toFluxError(err).message}`));
    target = { ...target, ranks: open };
    startStdin();
  };
  const onExecEvent = async (event: ShownEvent): Promise<void> => {
    const context = event.context ?? {};
    if (event.name === "log") {
      const { component, rank, stream, data } = context;
      if (options.quiet !== true) sink.stderr(`${since(event)}: ${memberText(component)}[${memberText(rank)}]: ${memberText(stream)}: `);
      sink.stderr(memberText(data));
      return;
    }
    if (event.name === "shell.init") await onShellInit(context);
    else if (event.name === "complete") startOutput();
    if (options.showExec === true) showEvent("exec", event);
    if (event.name === "shell.start") await onShellStart(context);
  };

  // ---- output

  const label = options.labelIo === true ? (rank: string): string => `${rank}: ` : undefined;
  const onOutputEvent = (event: ShownEvent): void => {
    const context = event.context ?? {};
    // What the terminal shows already is not shown twice.
    if (event.name === "data" && pty?.attached === true && captured && context["rank"] === "0") return;
    if (event.name === "data") putData(sink, context, label);
    else if (options.quiet === true) return;
    else if (event.name === "redirect") say(redirectText(context));
    else if (event.name === "log") say(`${since(event)}: ${shellLogText(context, options.verbose === true)}`);
  };
  const followOutput = async (): Promise<void> => {
    const held: ShownEvent[] = [];
    let holding = options.tail !== undefined;
    const release = (): void => {
      holding = false;
      for (const old of held.splice(0)) onOutputEvent(old);
    };
    try {
      for await (const response of watch("guest.output", holding ? EVENTLOG_WATCH.SENTINEL : 0)) {
        const event = eventOfResponse(response);
        if (event === undefined) release();
        else if (holding && (event.name === "data" || event.name === "log")) hold(held, event, options.tail ?? 0);
        else onOutputEvent(event);
      }
      release();
    } catch (err) {
      if (!isErrno(err, errno.ENOENT)) throw err;
      say("flux-job: No job output found");
    }
  };

  const startOutput = (): void => {
    output ??= followOutput();
    // Whoever waits for it hears of a failure; when the command ends for another reason, nobody does.
    output.catch(() => {});
  };

  // ---- all together

  const followJob = async (): Promise<void> => {
    try {
      for await (const response of watch("eventlog", 0)) {
        const event = eventOfResponse(response);
        if (event === undefined) continue;
        if (event.name === "finish" && options.showExec === true) await executed.promise;
        onJobEvent(event);
        if (event.name === "start") begun.resolve();
        if (event.name === (options.waitEvent ?? "clean")) return;
      }
    } finally {
      begun.resolve();
    }
  };
  const followExec = async (): Promise<void> => {
    try {
      for await (const response of watch("guest.exec.eventlog", 0)) {
        const event = eventOfResponse(response);
        if (options.showEvents === true) await begun.promise;
        if (event !== undefined) await onExecEvent(event);
        if (event?.name === "complete") executed.resolve();
      }
    } catch (err) {
      // A job that never came so far has none. Who isn't a job at all is said of its own eventlog.
      if (!isErrno(err, errno.ENOENT)) throw err;
    } finally {
      executed.resolve();
    }
    await output;
  };
  const detach = (): void => {
    say("flux-job: detaching...");
    for (const stream of streams) void stream.return();
  };
  const ignoreSignals = options.readOnly === true ? () => {} : catchSignals(h, id, say, detach, options.isOurs === true);
  const job = followJob();
  const exec = followExec();
  exec.catch(() => {}); // The job's own eventlog speaks first: an unknown job fails both.
  try {
    await Promise.race([job, gaveUp.promise]);
    await Promise.race([exec, gaveUp.promise]);
  } catch (err) {
    throw attachError(err, options.shownId);
  } finally {
    ignoreSignals();
    status.stop();
    stdin?.stop();
    pty?.stop();
    await pty?.done;
    if (finishText !== "") say(`flux-job: ${finishText}`);
    sink.flush();
  }
  return fatal && code === 0 ? 1 : code;
}

function attachError(err: unknown, shownId: string): unknown {
  if (isErrno(err, errno.ENOENT)) return new UsageError(`Failed to attach to ${shownId}: No such job`);
  if (isErrno(err, errno.EPERM)) return new UsageError(`Failed to attach to ${shownId}: that is not your job`);
  return err;
}

/** Keeps the last `max` lines of output. */
function hold(held: ShownEvent[], event: ShownEvent, max: number): void {
  const { data, encoding } = event.context ?? {};
  if (event.name === "data" && typeof data !== "string") return;
  const lines = typeof data === "string" && encoding === undefined ? (data.match(/[^\n]*\n|[^\n]+$/g) ?? []) : undefined;
  if (lines === undefined) held.push(event);
  else for (const line of lines.slice(-max || lines.length)) held.push({ ...event, context: { ...event.context, data: line } });
  held.splice(0, Math.max(0, held.length - max));
}

/** Of the ranks asked for those that exist, and all others. */
async function splitStdinRanks(wanted: string, taskmap: unknown, say: (text: string) => void): Promise<{ open: string; others: string }> {
  const [{ IdSet }, { Taskmap }] = await Promise.all([import("../formats/idset.ts"), import("../formats/taskmap.ts")]);
  const tasks = Taskmap.parse(taskmap).nodeids().length;
  const all = tasks === 0 ? IdSet.of() : IdSet.range(0, tasks - 1);
  const ranks = IdSet.parse(wanted);
  const open = ranks.intersect(all);
  if (!open.equals(ranks)) say(`flux-job: warning: adjusting --stdin-ranks from ${ranks.toString()} to ${open.toString()}`);
  return { open: open.toString(), others: all.subtract(open).toString() };
}
