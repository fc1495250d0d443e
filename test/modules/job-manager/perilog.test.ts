// Prolog, epilog and housekeeping when things go wrong, with a made-up rexec whose programs end when they are told to.
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { defineModule, type ModuleDefinition } from "../../../src/client/module.ts";
import { DEFERRED, type Request } from "../../../src/client/request.ts";
import { cancelJob, STATE } from "../../../src/client/jobs.ts";
import type { JobId } from "../../../src/formats/fluid.ts";
import { formatJobId } from "../../../src/formats/fluid.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { int, obj, unpack } from "../../../src/message/unpack.ts";
import { errno, FluxError } from "../../../src/message/errno.ts";
import { type Job, newJob } from "../../../src/modules/job-manager/job.ts";
import { Lifetime } from "../../../src/modules/job-manager/lifetime.ts";
import { NEW_JOB } from "../../../src/modules/job-manager/state.ts";
import { Changes, FakeKvs, type Rig, startRig } from "./fakes.ts";

interface Program {
  readonly request: Request;
  readonly cmdline: readonly string[];
  readonly env: JsonObject;
  readonly pid: number;
}

/** Programs run until end(); SIGTERM ends them unless they ignore it. */
class FakeRexec {
  readonly programs: Program[] = [];
  readonly signals: number[] = [];
  readonly drained: JsonObject[] = [];
  readonly changes = new Changes();
  ignoresSignals = false;
  startError: FluxError | undefined;

  readonly module: ModuleDefinition = defineModule({
    name: "rexec",
    start: async (h) => {
      await h.serve("rexec", {
        exec: (request) => {
          if (this.startError !== undefined) throw this.startError;
          const { cmd } = request.unpack({ cmd: obj });
          const pid = 1000 + this.programs.length;
          this.programs.push({ request, cmdline: cmd["cmdline"] as string[], env: cmd["env"] as JsonObject, pid });
          request.respond({ type: "started", pid });
          this.changes.tell();
          return DEFERRED;
        },
        kill: (request) => {
          const { pid, signum } = request.unpack({ pid: int, signum: int });
          this.signals.push(signum);
          this.changes.tell();
          if (!this.ignoresSignals) this.end(pid - 1000, signum);
        },
        disconnect: () => undefined,
      });
      await h.serve("resource", {
        drain: (request) => {
          this.drained.push(unpack({ all: request.payload }, { all: obj }).all);
          this.changes.tell();
        },
      });
    },
  });

  end(index: number, status: number): void {
    const program = this.programs[index];
    if (program?.request.isOpen !== true) return;
    program.request.respond({ type: "finished", status });
    program.request.finish();
  }
}

let rexec: FakeRexec;
let toStop: Rig[] = [];
beforeEach(() => {
  rexec = new FakeRexec();
  toStop = [];
});
afterEach(async () => {
  for (const rig of toStop) await rig.stop();
});

async function start(manager: JsonObject, options: { cores?: number; kvs?: FakeKvs; status?: number } = {}): Promise<Rig> {
  const rig = await startRig({ ...options, config: { "job-manager": manager }, before: [rexec.module] });
  toStop.push(rig);
  return rig;
}

const contexts = (rig: Rig, id: JobId, name: string): (JsonObject | undefined)[] => rig.kvs.eventlog(id).filter((event) => event.name === name).map(({ context }) => context);

describe("prolog", () => {
  const command = ["/prolog", "now"];

  test("that outlives its timeout and SIGTERM: the job ends, the rank is drained", async () => {
    rexec.ignoresSignals = true;
    const rig = await start({ prolog: { command, timeout: "10ms", "kill-timeout": 0.01 } });
    const id = await rig.submit();
    await rexec.changes.until(() => rexec.drained.length > 0);
    expect(rexec.programs[0]?.cmdline).toEqual(command);
    expect(rexec.programs[0]?.env).toMatchObject({ FLUX_JOB_ID: formatJobId(id, "f58"), FLUX_JOB_RANKS: "0" });
    expect(rexec.signals).toEqual([15]);
    expect(rexec.drained).toEqual([{ targets: "0", reason: `prolog timed out for job ${formatJobId(id, "f58")}`, mode: "update" }]);
    expect((await rig.inactive(id)).slice(4)).toEqual(["alloc", "prolog-start", "exception", "prolog-finish", "free", "clean"]);
    expect(contexts(rig, id, "exception")[0]).toMatchObject({ type: "prolog", severity: 0, note: "prolog timed out on test0 (rank 0)" });
  });

  test("is ended when its job is cancelled; that is no failure of the node", async () => {
    const rig = await start({ prolog: { command, "per-rank": true }, epilog: { command: ["/epilog"] } });
    const id = await rig.submit();
    await rexec.changes.until(() => rexec.programs.length === 1);
    await cancelJob(rig.h, id);
    await rexec.changes.until(() => rexec.programs.length === 2);
    expect(rexec.programs[1]?.cmdline).toEqual(["/epilog"]);
    rexec.end(1, 0);
    expect((await rig.inactive(id)).slice(4)).toEqual(["alloc", "prolog-start", "exception", "epilog-start", "prolog-finish", "epilog-finish", "free", "clean"]);
    expect(rexec.drained).toEqual([]);
    expect(contexts(rig, id, "prolog-finish")[0]).toEqual({ description: "job-manager.prolog", status: 15 });
  });

  test("that ignores its cancellation costs the node", async () => {
    rexec.ignoresSignals = true;
    const rig = await start({ prolog: { command, "kill-timeout": 0.01 } });
    const id = await rig.submit();
    await rexec.changes.until(() => rexec.programs.length === 1);
    await cancelJob(rig.h, id);
    await rig.inactive(id);
    expect(rexec.drained).toMatchObject([{ reason: `prolog canceled then timed out for job ${formatJobId(id, "f58")}` }]);
    expect(contexts(rig, id, "exception")[1]).toMatchObject({ type: "prolog", note: "prolog canceled then timed out on test0 (rank 0)" });
  });

  test("that can't be started, or is killed, says how", async () => {
    rexec.startError = new FluxError(errno.ENOENT, "No such file or directory");
    const rig = await start({ prolog: { command } }, { cores: 2 });
    const first = await rig.submit();
    await rig.inactive(first);
    expect(contexts(rig, first, "exception")[0]).toMatchObject({ note: "prolog exited with code=127 on test0 (rank 0)" });
    rexec.startError = undefined;
    const second = await rig.submit();
    await rexec.changes.until(() => rexec.programs.length === 1);
    rexec.end(0, 137 << 8);
    await rig.inactive(second);
    expect(contexts(rig, second, "exception")[0]).toMatchObject({ note: "prolog killed by signal 9 on test0 (rank 0)" });
    expect(rexec.drained).toEqual([]);
  });

  test("runs again when the job manager comes back while it ran", async () => {
    const kvs = new FakeKvs();
    const first = await start({ prolog: { command } }, { kvs });
    const id = await first.submit();
    await rexec.changes.until(() => rexec.programs.length === 1);
    await first.until(() => kvs.names(id).includes("prolog-start"));
    await first.stop();
    toStop = [];
    const second = await start({ prolog: { command } }, { kvs });
    await rexec.changes.until(() => rexec.programs.length === 2);
    rexec.end(1, 0);
    await second.until(() => second.exec.running.has(id) && kvs.names(id).includes("prolog-finish"));
    expect(kvs.names(id).filter((name) => name.startsWith("prolog"))).toEqual(["prolog-start", "prolog-finish"]);
  });

  test("wrong configuration is refused by name", async () => {
    const rig = await start({});
    const cases: [JsonObject, string][] = [
      [{ prolog: {} }, "[job-manager.prolog]: no command specified and exec.imp not defined"],
      [{ prolog: { command: "x" } }, "[job-manager.prolog]: command must be an array"],
      [{ epilog: { command: ["x"], timeout: "soon" } }, "[job-manager.epilog]: invalid epilog timeout"],
      [{ epilog: { command: ["x"] }, perilog: { "log-ignore": ["("] } }, "[job-manager.perilog]: error parsing log-ignore: Failed to compile regex: ("],
      [{ housekeeping: {} }, "job-manager.housekeeping implies IMP but exec.imp is undefined"],
      [{ housekeeping: { command: ["x"], "release-after": "soon" } }, "job-manager.housekeeping.release-after FSD parse error"],
    ];
    for (const [table, message] of cases) {
      await expect(rig.h.rpc("job-manager.config-reload", { "job-manager": table })).rejects.toMatchObject({ errno: errno.EINVAL, message });
    }
  });
});

describe("housekeeping", () => {
  test("keeps resources from the scheduler until it is done, the job doesn't wait", async () => {
    const rig = await start({ housekeeping: { command: ["/tidy"] } }, { status: 0 });
    const id = await rig.submit();
    await rig.inactive(id);
    await rexec.changes.until(() => rexec.programs.length === 1);
    expect(rig.sched.free).toBe(0);
    expect(rexec.programs[0]?.env).toMatchObject({ FLUX_JOB_ID: String(id), FLUX_JOB_RANKS: "0" });
    const { housekeeping } = await rig.h.rpc("job-manager.stats-get");
    expect(housekeeping).toMatchObject({ running: { [formatJobId(id, "f58")]: { pending: "0", allocated: "0" } }, config: { "release-after": -1, command: "/tidy" } });
    const { allocated } = await rig.h.rpc("job-manager.resource-status");
    expect(allocated).toMatchObject({ execution: { R_lite: [{ rank: "0", children: { core: "0" } }] } });
    // A scheduler that comes now is told.
    const told: unknown[] = [];
    for await (const job of rig.h.stream("job-manager.sched-hello", {})) told.push(job["id"]);
    expect(told).toEqual([id]);
    const next = await rig.submit();
    await rig.h.rpc("job-manager.housekeeping-kill", { signum: 15 });
    await rig.inactive(next);
    expect(rexec.signals).toEqual([15]);
  });
});

test("jobs without a duration of their own follow the expiration of the instance", () => {
  const posted: [JobId, string, unknown][] = [];
  const running = (id: JobId, duration: number): Job => ({
    ...newJob(id, { ...NEW_JOB, state: STATE.RUN, R: { version: 1, execution: { R_lite: [], starttime: 0, expiration: 1000 } } }),
    decoded: { attributes: { system: { duration } } },
  });
  const active = new Map([running(1n, 0), running(2n, 600)].map((job) => [job.id, job]));
  const logged: string[] = [];
  const lifetime = new Lifetime({
    log: (_level, text) => logged.push(text),
    watch: async function* () {},
    core: { active, running: 2, post: (job, name, context) => posted.push([job.id, name, context]) },
  });
  lifetime.changed(1000);
  expect(posted).toEqual([]);
  lifetime.changed(1540);
  expect(posted).toEqual([[1n, "resource-update", { expiration: 1540 }]]);
  expect(lifetime.expiration_s).toBe(1540);
  expect(logged).toEqual(["resource expiration updated from 1000.00 to 1540.00 (+540)", "updated expiration of ƒ2 from 1000.00 to 1540.00 (+540)"]);
});
