// What is killed, stopped, starved or fed with nonsense: it costs what it must and no more, nothing hangs, and nothing
// is left behind.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readProcess } from "../../src/os/process-tree.ts";
import { FLUX, type Instance, startInstance, userEnvironment } from "./flux.ts";
import { processesIn, type Sandbox, sandbox, type Started } from "./sandbox.ts";

/** Everything that was asked to end has ended within this. */
const END_MS = 10_000;

/** Waits for a condition that nobody announces. */
async function until<T>(what: string, look: () => T | undefined | Promise<T | undefined>, limit_ms = 15_000): Promise<T> {
  const until_ms = Date.now() + limit_ms;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > until_ms) throw new Error(`waited in vain for ${what}`);
    await Bun.sleep(20);
  }
}

function brokerPid(dir: string, rank: number): number {
  const found = processesIn(dir).find(({ pid }) => readProcess(pid)?.name === `flux-broker-${rank}`);
  if (found === undefined) throw new Error(`no broker ${rank} below ${dir}`);
  return found.pid;
}

function pidsOf(dir: string, command: string): number[] {
  return processesIn(dir)
    .filter((entry) => entry.command.trim() === command)
    .map(({ pid }) => pid);
}

/** Starts an instance whose initial program runs `script`, says "up", and stays. */
async function running(box: Sandbox, args: readonly string[], script: string): Promise<Started> {
  const started = box.start("start", ...args, `set -e; ${script}\necho up; sleep 600`);
  await started.saw("up");
  return started;
}

describe("the starter is killed", () => {
  const submitted = "flux job wait-event -p guest.exec.eventlog $(flux job last) shell.start >/dev/null";
  const works: Readonly<Record<string, string>> = {
    "jobs that sleep": `flux submit --quiet sleep 600; ${submitted}; flux submit --quiet --cc=1-4 sleep 600`,
    "a job that ignores signals": `flux submit --quiet sh -c 'trap "" TERM HUP INT; while :; do sleep 600; done'; ${submitted}`,
    "a job with descendants in other sessions": `flux submit --quiet sh -c 'setsid sleep 600 & (sleep 600 &) ; wait'; ${submitted}`,
    "a program under flux exec": "flux exec sleep 600 &",
  };
  for (const [name, script] of Object.entries(works)) {
    test(`while there is ${name}`, async () => {
      await Promise.all(
        (["SIGTERM", "SIGKILL"] as const).map(async (signal, i) => {
          await using box = sandbox();
          const instance = await running(box, [`-s${i + 1}`], script);
          const killed_ms = Date.now();
          instance.child.kill(signal);
          await instance.finished;
          await box.nothingLeft();
          expect(Date.now() - killed_ms).toBeLessThan(END_MS);
        }),
      );
    });
  }

  test("with sixteen brokers", async () => {
    await using box = sandbox();
    const instance = await running(box, ["-s16"], "flux submit --quiet -N16 sleep 600");
    instance.child.kill("SIGKILL");
    await instance.finished;
    await box.nothingLeft();
  });

  test("while the initial program ignores it", async () => {
    await using box = sandbox();
    const instance = box.start("start", "-s2", "trap '' HUP TERM INT; echo up; while :; do sleep 600; done");
    await instance.saw("up");
    const killed_ms = Date.now();
    instance.child.kill("SIGTERM");
    expect((await instance.finished).code).toBe(137);
    await box.nothingLeft();
    expect(Date.now() - killed_ms).toBeLessThan(END_MS);
  });

  test("at any moment of its start", async () => {
    const signals = ["SIGTERM", "SIGKILL", "SIGINT", "SIGHUP"] as const;
    for (let i = 0; i < 12; i++) {
      await using box = sandbox();
      const instance = box.start("start", `-s${1 + (i % 3)}`, "sleep 600");
      await Bun.sleep(i * 20); // which moment it is does not matter
      instance.child.kill(signals[i % 4] ?? "SIGTERM");
      await instance.finished;
      await box.nothingLeft();
    }
  });
});

describe("a broker is lost", () => {
  test("killed: what waits for it fails, the rest goes on, and the end is in order", async () => {
    await using box = sandbox();
    const instance = box.start("start", "-s4", "-Stbon.topo=kary:2", "--test-exit-timeout=1h", "echo URI=$FLUX_URI; while ! test -e $TMPDIR/end; do sleep 0.05; done; rm $TMPDIR/end");
    const flux = await attach(box, instance);
    const submit = async (...args: string[]): Promise<string> => {
      const id = (await flux("submit", ...args)).stdout.trim();
      await flux("job", "wait-event", "-p", "guest.exec.eventlog", id, "shell.start");
      return id;
    };
    const there = await submit("--requires=rank:1", "sleep", "600");
    const elsewhere = await submit("--requires=rank:0", "sleep", "600");
    const waiting = [flux("ping", "-r", "1", "-i", "0.1", "broker"), flux("exec", "-r", "1", "sleep", "601"), flux("job", "attach", there)];
    await until("the program of flux exec", () => pidsOf(box.dir, "sleep 601")[0]);
    process.kill(brokerPid(box.dir, 1), "SIGKILL");
    const [ping, exec, attached] = await Promise.all(waiting);
    expect([ping?.code, ping?.stderr]).toEqual([1, "flux-ping: 1!broker.ping: No route to host\n"]);
    expect([exec?.code, exec?.stderr]).toEqual([68, "flux-exec: Error: rank 1: sleep: No route to host: lost the connection to broker 1\n"]);
    expect(attached?.stderr).toMatch(/job.exception \S+ type=exec severity=0 node failure on \S+ \(rank 1\)/);
    expect(attached?.code).toBe(1);
    // Rank 3 was below rank 1.
    for (const rank of ["1", "3"]) expect((await flux("ping", "-c1", "-r", rank, "broker")).stderr).toContain("No route to host");
    expect((await flux("overlay", "status")).stdout).toMatch(/degraded[^]*1 \S+: lost[^]*3 \S+: lost[^]*2 \S+: full/);
    expect((await flux("overlay", "errors")).stdout).toMatch(/^\S+: \S.*\n$/);
    expect((await flux("resource", "status", "-s", "offline", "-no", "{ranks}")).stdout).toBe("1,3\n");
    expect((await flux("jobs", "-no", "{state}", elsewhere)).stdout.trim()).toBe("RUN");
    expect((await flux("jobs", "-no", "{state} {result}", there)).stdout.trim()).toBe("INACTIVE FAILED");
    expect((await flux("run", "-N1", "echo", "on")).stdout).toBe("on\n");
    await Bun.write(join(box.dir, "end"), "");
    const { code, stderr } = await instance.finished;
    expect(stderr).toContain("Killed");
    expect(code).toBe(137);
    await box.nothingLeft();
  });

  test("stopped: it gets no jobs after a while, and counts as lost when it has been silent for long", async () => {
    await using box = sandbox();
    const timing = ["-Stbon.torpid_min=100ms", "-Stbon.torpid_max=300ms", "--test-exit-timeout=1h"];
    const instance = box.start("start", "-s2", ...timing, "echo URI=$FLUX_URI; while ! test -e $TMPDIR/end; do sleep 0.05; done; rm $TMPDIR/end");
    const flux = await attach(box, instance);
    process.kill(brokerPid(box.dir, 1), "SIGSTOP");
    const [ping, exec] = await Promise.all([flux("ping", "-c1", "-r", "1", "broker"), flux("exec", "-r", "1", "true")]);
    expect([ping.code, exec.code]).toEqual([1, 68]);
    expect(ping.stderr).toContain("No route to host");
    expect((await flux("run", "-N1", "echo", "on")).stdout).toBe("on\n");
    await Bun.write(join(box.dir, "end"), "");
    await instance.finished;
    await box.nothingLeft();
  });

  test("cut off by the administrator: it ends, and flux overlay tells why", async () => {
    await using box = sandbox();
    const instance = box.start("start", "--test-size=2", "--test-exit-mode=leader", "echo URI=$FLUX_URI; while ! test -e $TMPDIR/end; do sleep 0.05; done; rm $TMPDIR/end");
    const flux = await attach(box, instance);
    const trace = box.start("overlay", "trace", "--rank=1", "--color=never", "broker.ping");
    const pings = box.start("ping", "-r", "1", "-i", "0.05", "broker");
    await trace.saw("broker.ping");
    for (const { child } of [trace, pings]) child.kill("SIGTERM");
    await Promise.all([trace.finished, pings.finished]);
    expect((await flux("overlay", "disconnect", "0")).stderr).toBe("flux-overlay: 0 has no parent\n");
    expect(await flux("overlay", "errors")).toMatchObject({ code: 0, stdout: "" });
    expect((await flux("overlay", "disconnect", "1")).stderr).toMatch(/asking \S+ \(rank 0\) to disconnect child \S+ \(rank 1\)/);
    expect((await flux("overlay", "status", "--wait=degraded")).code).toBe(0);
    expect((await flux("overlay", "errors")).stdout).toMatch(/^\S+: administrative disconnect\n$/);
    await Bun.write(join(box.dir, "end"), "");
    await instance.finished;
    await box.nothingLeft();
  });
});

async function attach(box: Sandbox, instance: Started): Promise<Sandbox["flux"]> {
  await instance.saw("URI=");
  const socket = await until("the local socket", () => socketOf(box.dir));
  box.env["FLUX_URI"] = `local://${socket}`;
  return (...args) => box.flux(...args);
}

function socketOf(dir: string): string | undefined {
  const rundir = readdirSync(dir).find((name) => readdirSync(join(dir, name)).includes("local-0"));
  return rundir === undefined ? undefined : join(dir, rundir, "local-0");
}

describe("the initial program", () => {
  test.each([[[]], [["-s2"]]])("%j: what it leaves running in its session goes with it", async (args) => {
    await using box = sandbox();
    expect((await box.flux("start", ...args, "sleep 600 & (sleep 600 &) ; exit 5")).code).toBe(5);
    await box.nothingLeft();
  });

  const conditions: readonly (readonly [name: string, setup: string, code: number, message: string])[] = [
    ["few descriptors", "ulimit -n 64", 0, ""],
    ["no HOME", "unset HOME", 0, ""],
    ["no SHELL", "unset SHELL", 0, ""],
    ["standard input closed", "exec <&-", 0, ""],
    ["TMPDIR not there", "TMPDIR=/nonexistent", 1, "cannot make a directory in /nonexistent: No such file or directory"],
    ["TMPDIR too long for sockets", `TMPDIR=$TMPDIR/${"x".repeat(100)}; mkdir $TMPDIR; trap 'rmdir $TMPDIR' EXIT`, 1, "the limit is 107"],
    ["statedir that cannot be made", "set -- -Sstatedir=/nonexistent/state", 1, "cannot make directory /nonexistent/state: No such file or directory"],
  ];
  for (const [name, setup, code, message] of conditions) {
    test(name, async () => {
      await using box = sandbox();
      for (const size of ["-s1", "-s2"]) {
        const result = await box.sh(`${setup}\nflux start ${size} "$@" 'flux run echo fine'`);
        expect(result.stderr).toContain(message);
        expect([result.code, result.stdout]).toEqual([code, code === 0 ? "fine\n" : ""]);
      }
      await box.nothingLeft();
    });
  }

  test("a disk that is full is said, and the instance ends", async () => {
    await using box = sandbox();
    const statedir = join(box.dir, "state");
    mkdirSync(statedir);
    // A limit on file sizes is what a test can have of a full disk.
    const script = `trap '' XFSZ; ulimit -f 300; flux start -Sstatedir=${statedir} 'head -c 1000000 /dev/urandom | flux kvs put --raw a=-; flux kvs put --sync b=1; true'`;
    const { code, stderr } = await box.sh(script);
    expect(stderr).toMatch(/content store: \S+content.sqlite: (disk I\/O error|database or disk is full)/);
    expect(stderr).toContain("flux-kvs: flux_kvs_commit:");
    expect(code).toBe(1);
    await box.sh(`rm -r ${statedir}`);
    await box.nothingLeft();
  });
});

describe("in one instance", () => {
  let instance: Instance;
  let socketPath: string;
  let broker: number;
  beforeAll(async () => {
    instance = await startInstance(2);
    socketPath = instance.uri.replace("local://", "");
    broker = brokerPid(instance.folder, 0);
  });
  afterAll(() => instance.stop());

  const submit = async (...args: string[]): Promise<string> => {
    const id = (await instance.flux(["submit", ...args])).stdout.trim();
    await instance.flux(["job", "wait-event", "-p", "guest.exec.eventlog", id, "shell.start"]);
    return id;
  };
  /** A command of ours that will be killed. */
  const client = (args: readonly string[]) =>
    Bun.spawn([FLUX, ...args], { env: userEnvironment({ FLUX_URI: instance.uri, TMPDIR: instance.folder }), stdin: "ignore", stdout: "pipe", stderr: "ignore" });
  const jobIs = async (id: string): Promise<string> => (await instance.flux(["jobs", "-ano", "{state} {result}", id])).stdout.trim();
  const isWell = async (): Promise<void> => expect((await instance.flux(["run", "echo", "well"])).stdout).toBe("well\n");
  const descriptors = (): number => readdirSync(`/proc/${broker}/fd`).length;
  const resident_kb = (): number => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${broker}/status`, "utf8"))?.[1]);

  test("nonsense on the local socket costs the connection that sent it", async () => {
    const request = await captureRequest(instance);
    const before = descriptors();
    const nonsense = [Buffer.alloc(4000, 0xaa), request.subarray(0, 5), request.subarray(0, request.length - 3), sized(request, 0x7fffffff), sized(request, 0xffffffff)];
    for (let at = 0; at < request.length - 1; at++) nonsense.push(Buffer.from(request).fill(0xff, at, at + 2));
    for (const bytes of nonsense) {
      const socket = await welcome(socketPath);
      socket.end(bytes);
      socket.destroySoon();
    }
    await isWell();
    await until("the descriptors to be closed", () => (descriptors() <= before + 4 ? true : undefined));
  });

  test("a thousand connections at once, and thousands one after the other", async () => {
    await isWell();
    const before = descriptors();
    const many = await Promise.all(Array.from({ length: 1000 }, () => welcome(socketPath)));
    expect(descriptors()).toBeGreaterThan(before + 900);
    await isWell();
    for (const socket of many) socket.destroy();
    const before_kb = resident_kb();
    for (let i = 0; i < 300; i++) for (const socket of await Promise.all(Array.from({ length: 10 }, () => welcome(socketPath)))) socket.destroy();
    await until("the descriptors to be closed", () => (descriptors() <= before + 4 ? true : undefined));
    expect(resident_kb() - before_kb).toBeLessThan(100_000);
    await isWell();
  });

  test("a client that asks and never reads loses its connection, and nobody else notices", async () => {
    await instance.sh("head -c 20000000 /dev/zero | tr '\\0' x | flux kvs put --raw big=-");
    const request = await captureRequest(instance, "big");
    const socket = await welcome(socketPath);
    socket.pause();
    // More than the 128 MiB that may wait for one client.
    for (let i = 0; i < 12; i++) socket.write(request);
    await until("the client to be dropped", async () => {
      const { stdout } = await instance.flux(["dmesg"]);
      return /dropping a client of user \d+: the peer does not read/.test(stdout) ? true : undefined;
    });
    socket.destroy();
    await isWell();
  });

  test("clients that are killed leave no watch, wait or process behind", async () => {
    const id = await submit("sleep", "602");
    const counts = async (): Promise<readonly number[]> => {
      const stats = async (name: string): Promise<Record<string, number>> => JSON.parse((await instance.flux(["module", "stats", name])).stdout) as Record<string, number>;
      const [watch, info, rexec, barrier] = await Promise.all(["kvs-watch", "job-info", "rexec", "barrier"].map(stats));
      return [watch?.["watchers"] ?? -1, info?.["watchers"] ?? -1, rexec?.["processes"] ?? -1, barrier?.["barriers"] ?? -1];
    };
    const before = await counts();
    const commands = [["job", "attach", id], ["kvs", "get", "--watch", "--waitcreate", "no.key"], ["exec", "-r", "0", "sleep", "603"], ["job", "wait-event", id, "clean"], ["kvs", "wait", "999999"]];
    const clients = commands.map(client);
    await until("all to be under way", async () => {
      const [watchers = 0, , processes = 0] = await counts();
      return watchers >= (before[0] ?? 0) + 3 && processes === 1 ? true : undefined;
    });
    for (const each of clients) each.kill("SIGKILL");
    await until("all counts to be what they were", async () => (String(await counts()) === String(before) ? true : undefined));
    await until("the program of flux exec to be gone", () => (pidsOf(instance.folder, "sleep 603").length === 0 ? true : undefined));
    await instance.flux(["cancel", id]);
  });

  test("a task, a shell, idle shells: each is killed", async () => {
    const task = await submit("sleep", "604");
    process.kill(pidsOf(instance.folder, "sleep 604")[0] ?? -1, "SIGKILL");
    expect((await instance.flux(["job", "attach", task])).code).toBe(137);
    const job = await submit("sh", "-c", "setsid sleep 606 & exec sleep 605");
    const shell = readProcess(pidsOf(instance.folder, "sleep 605")[0] ?? -1)?.ppid ?? -1;
    process.kill(shell, "SIGKILL");
    const { code, stderr } = await instance.flux(["job", "attach", job]);
    expect(stderr).toMatch(/type=exec severity=0 shell rank 0 \(on \S+\): Killed/);
    expect([code, await jobIs(job)]).toEqual([137, "INACTIVE FAILED"]);
    await until("its tasks to be gone", () => (pidsOf(instance.folder, "sleep 606").length === 0 ? true : undefined));
    for (const { pid, command } of processesIn(instance.folder)) if (command.includes("flux shell")) process.kill(pid, "SIGKILL");
    await isWell();
  });

  test.each([
    ["SIGTERM", "INACTIVE FAILED"],
    ["SIGKILL", "RUN"],
  ] as const)("flux run is killed by %s: its job is %s", async (signal, state) => {
    const run = client(["run", "sleep", "607"]);
    await until("its task", () => pidsOf(instance.folder, "sleep 607")[0]);
    const id = (await instance.flux(["job", "last"])).stdout.trim();
    run.kill(signal);
    await run.exited;
    await until(`the job to be ${state}`, async () => ((await jobIs(id)).startsWith(state) ? true : undefined));
    await instance.flux(["cancel", id]);
    await until("its task to be gone", () => (pidsOf(instance.folder, "sleep 607").length === 0 ? true : undefined));
  });

  test("a job prints without end while its reader is stopped", async () => {
    const run = client(["run", "yes"]);
    await run.stdout.getReader().read();
    run.kill("SIGSTOP");
    const id = (await instance.flux(["job", "last"])).stdout.trim();
    await isWell();
    expect((await instance.flux(["cancel", id])).code).toBe(0);
    await instance.flux(["job", "wait-event", id, "clean"]);
    run.kill("SIGKILL");
    await isWell();
  });

  test("hundreds of jobs are cancelled at once", async () => {
    const ids = (await instance.flux(["submit", "--cc=1-200", "sleep", "608"])).stdout.trim().split("\n");
    expect((await instance.flux(["cancel", ...ids])).code).toBe(0);
    expect((await instance.flux(["queue", "idle", "--timeout=30s"])).code).toBe(0);
    expect((await instance.flux(["jobs", "-no", "{id}"])).stdout).toBe("");
  });

  test("a nested instance is killed from outside", async () => {
    const id = (await instance.flux(["submit", "-n1", "flux", "start", "flux run echo nested; flux submit sleep 609; sleep 610"])).stdout.trim();
    await until("its program", () => (pidsOf(instance.folder, "sleep 610").length > 0 ? true : undefined));
    await instance.flux(["cancel", id]);
    await instance.flux(["job", "wait-event", id, "clean"]);
    expect(await jobIs(id)).toBe("INACTIVE CANCELED");
    for (const command of ["sleep 609", "sleep 610"]) await until(`${command} to be gone`, () => (pidsOf(instance.folder, command).length === 0 ? true : undefined));
    await isWell();
  });
});

test("what is submitted while the instance goes down ends with an error, not never", async () => {
  await using box = sandbox();
  const instance = box.start("start", "-s2", "echo URI=$FLUX_URI; sleep 600");
  const flux = await attach(box, instance);
  const clients = [flux("submit", "--cc=1-100", "sleep", "600"), flux("run", "sleep", "600"), flux("submit", "--cc=1-100", "--wait", "true")];
  await until("a first job", async () => ((await flux("jobs", "-ano", "{id}")).stdout === "" ? undefined : true));
  instance.child.kill("SIGTERM");
  const late = await flux("run", "echo", "late");
  if (late.code !== 0) expect(late).toMatchObject({ stderr: expect.stringMatching(/./) });
  const [, run] = await Promise.all(clients);
  expect(run?.code).not.toBe(0);
  expect((await instance.finished).code).toBe(129);
  await box.nothingLeft();
});

test("two instances of one user know nothing of each other", async () => {
  await using one = sandbox();
  await using two = sandbox();
  const [first, second] = await Promise.all([running(one, ["-s2"], "flux submit --quiet sleep 600"), running(two, ["-s2"], "flux submit --quiet sleep 600")]);
  first.child.kill("SIGKILL");
  await one.nothingLeft();
  expect(pidsOf(two.dir, "sleep 600").length).toBeGreaterThan(0);
  second.child.kill("SIGTERM");
  await second.finished;
  await two.nothingLeft();
});

/** A connection that the broker has let in. */
function welcome(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once("data", () => resolve(socket));
    socket.once("error", reject);
    socket.on("error", () => undefined); // being dropped is what some want
  });
}

/** The bytes that `flux kvs get KEY` sends. */
async function captureRequest(instance: Instance, key = "a"): Promise<Buffer> {
  const path = join(instance.folder, "capture");
  const caught = Promise.withResolvers<Buffer>();
  using _listener = Bun.listen({
    unix: path,
    socket: {
      binaryType: "buffer",
      open: (socket) => void socket.write(Buffer.from([0])),
      data(socket, bytes) {
        caught.resolve(Buffer.from(bytes));
        socket.end();
      },
    },
  });
  const [request] = await Promise.all([caught.promise, instance.flux(["kvs", "get", "--raw", key], { env: { FLUX_URI: `local://${path}` } })]);
  return request;
}

/** The message with another size in its frame. */
function sized(message: Buffer, size: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt32BE(size, 4);
  return copy;
}
