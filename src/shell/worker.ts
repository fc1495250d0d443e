// Worker: a shell process of the pool. It waits at its broker's job-exec for a job, runs it, and waits again; see protocol.ts.
import type { Flux } from "../client/flux.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, toFluxError } from "../message/errno.ts";
import { str, unpack } from "../message/unpack.ts";
import { realClock, type Clock } from "../os/clock.ts";
import { hostname } from "../os/hostname.ts";
import { discoverTopology, type Topology } from "../os/topology.ts";
import { killOrphans } from "./orphans.ts";
import { formatError } from "./failure.ts";
import { parseJob } from "./job.ts";
import { jobPlugins } from "./plugins/mod.ts";
import { controlSpec, encodeReport, eventLine, jobOrderSpec, type ShellReport } from "./protocol.ts";
import { runShell, type ShellHost, type ShellRun } from "./shell.ts";

export interface WorkerOptions {
  /** The process that can be signalled when this worker hangs; 0 for one that runs inside another process (tests). */
  readonly pid: number;
  readonly clock?: Clock;
  readonly processEnv?: Readonly<Record<string, string | undefined>>;
}

/**
 * Serves jobs until job-exec lets it go or its broker is gone. Resolves then, or a little later when it had a job, of which
 * nothing is left running; rejects when it could not begin.
 */
export async function runWorker(h: Flux, options: WorkerOptions): Promise<void> {
  const host = await openHost(h, options);
  let current: { id: bigint; namespace: string; run: ShellRun } | undefined;
  const rank = Number(await h.attr("rank"));
  const orders = h.stream("job-exec.shell-wait", { pid: options.pid }, { nodeid: rank });
  const tell = (report: ShellReport): void => {
    // Without a broker there is nobody to tell.
    if (!h.isClosed) h.notify("job-exec.shell-report", encodeReport(report), { nodeid: rank });
  };

  const begin = (order: JsonObject): void => {
    const { id, shell_rank } = unpack(order, jobOrderSpec);
    try {
      const job = parseJob(order, host.processEnv);
      const run = runShell({ ...host, report: tell }, job, jobPlugins);
      current = { id, namespace: job.namespace, run };
      run.finished.then(
        () => {
          if (current?.id === id) current = undefined;
        },
        (err: unknown) => h.log(3, `shell: ${toFluxError(err).message}`),
      );
    } catch (err) {
      refuse(h, host, { id, shell_rank }, tell, formatError(err)).catch((failure: unknown) => h.log(3, `shell: ${toFluxError(failure).message}`));
    }
  };

  const control = (order: JsonObject, type: string): void => {
    const { id, signum, shell_rank, severity, message, expiration } = unpack(order, controlSpec);
    if (current === undefined || current.id !== id) return;
    const { run } = current;
    if (type === "go") run.go();
    else if (type === "kill") run.kill(signum);
    else if (type === "lost-shell") run.lostShell(shell_rank ?? 0, severity ?? 0, message ?? "");
    else if (type === "logged") run.logged();
    else if (type === "expiration") run.expiration(expiration ?? 0);
  };

  try {
    for await (const order of untilLost(orders)) {
      const { type } = unpack(order, { type: str });
      if (type === "retire") break;
      if (type === "job") begin(order);
      else control(order, type);
    }
  } catch (err) {
    // The end of this process: whoever looks at the job sees why, and job-exec ends what is left of it.
    if (current !== undefined) await h.rpc("job-manager.raise", { id: current.id, type: "exec", severity: 0, note: `internal error in the job shell: ${formatError(err)}` });
    throw err;
  }
  // With a job: the broker went away, or unloaded job-exec. Nobody wants the job any more.
  if (current !== undefined) {
    const { namespace, run } = current;
    run.abort();
    // What has left its task's process group goes too: it may hold the output that the end of the job waits for.
    killOrphans(namespace, host.uri);
    await Promise.race([run.finished, host.clock.sleep(LAST_WORDS_MS)]);
    h.close();
  }
}

/** How long a job may take to end that nobody wants any more. */
const LAST_WORDS_MS = 1000;

/** Losing the broker is an end like any other. */
async function* untilLost(orders: AsyncIterable<JsonObject>): AsyncGenerator<JsonObject> {
  try {
    yield* orders;
  } catch (err) {
    if (!LOST.has(toFluxError(err).errno)) throw err;
  }
}

const LOST: ReadonlySet<number> = new Set([errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN, errno.ENOSYS, errno.ECANCELED, errno.EHOSTUNREACH]);

async function openHost(h: Flux, options: WorkerOptions): Promise<ShellHost> {
  const processEnv = options.processEnv ?? process.env;
  const names = ["jobid-path", "instance-level", "rundir", "security.owner", "local-uri"] as const;
  const [jobidPath, level, rundir, owner, uri] = await Promise.all(names.map((name) => h.optionalAttr(name)));
  let topology: Topology | undefined;
  return {
    h,
    clock: options.clock ?? realClock,
    hostname: hostname(processEnv),
    uri: uri ?? processEnv["FLUX_URI"] ?? "",
    jobidPath: jobidPath ?? "/",
    instanceLevel: Number(level ?? 0),
    rundir: rundir ?? "/tmp",
    instanceOwner: Number(owner ?? process.getuid?.() ?? 0),
    processEnv,
    topology: () => (topology ??= discoverTopology()),
    report: () => undefined,
  };
}

/** A job that cannot even be understood. */
async function refuse(h: Flux, host: ShellHost, who: { id: bigint; shell_rank: number }, tell: (report: ShellReport) => void, text: string): Promise<void> {
  try {
    await h.rpc("job-manager.raise", { id: who.id, type: "exec", severity: 0, note: text });
  } finally {
    const context = { rank: who.shell_rank, level: 0, message: text };
    tell({ ...who, phase: "exited", status: 1 << 8, append: { output: eventLine(host.clock.now_s(), "log", context) } });
  }
}
