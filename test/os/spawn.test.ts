// Starting programs: output is complete, statuses exact, failures named, nothing inherited, nothing leaked.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { errno, FluxError } from "../../src/message/errno.ts";
import { getAffinity } from "../../src/os/affinity.ts";
import type { FdStream } from "../../src/os/fd-stream.ts";
import { closeFd, socketPair } from "../../src/os/libc.ts";
import { getRlimit, launchNofile } from "../../src/os/limits.ts";
import { sessionMembers } from "../../src/os/process-tree.ts";
import { exitCode, termSignal } from "../../src/formats/waitstatus.ts";
import { collectOutput, type ExitStatus, spawnProcess } from "../../src/os/spawn.ts";
import { makeTemporaryDirectory, removeDirectory } from "../../src/os/tmpdir.ts";

async function runForStatus(argv: readonly string[]): Promise<ExitStatus> {
  return spawnProcess({ argv, stdin: "null", stdout: "null", stderr: "null" }).exited;
}

const dir = makeTemporaryDirectory("spawn-test-");
afterAll(() => removeDirectory(dir));

function descriptors(): number {
  return readdirSync("/proc/self/fd").length;
}

function failure(start: () => unknown): FluxError {
  try {
    start();
  } catch (error) {
    if (error instanceof FluxError) return error;
    throw error;
  }
  throw new Error("it started");
}

async function sh(script: string, options: object = {}): Promise<string> {
  const { stdout } = await collectOutput({ argv: ["/bin/sh", "-c", script], ...options });
  return stdout.trim();
}

describe("status", () => {
  test("exit codes and signals, real-time ones too", async () => {
    expect(await runForStatus(["/bin/true"])).toEqual({ status: 0 });
    expect(exitCode((await runForStatus(["/bin/sh", "-c", "exit 42"])).status)).toBe(42);
    for (const signal of [9, 15, 34, 40, 64]) {
      expect(termSignal((await runForStatus(["/bin/sh", "-c", `kill -${signal} $$`])).status)).toBe(signal);
    }
  });

  test("kill reaches the process, killGroup its descendants", async () => {
    const one = spawnProcess({ argv: ["sleep", "100"] });
    expect(one.kill("SIGTERM")).toBe(true);
    expect(termSignal((await one.exited).status)).toBe(15);
    expect(one.kill("SIGTERM")).toBe(false);

    const started = Promise.withResolvers<void>();
    const group = spawnProcess({
      argv: ["/bin/sh", "-c", "sleep 100 & echo up; wait"],
      newSession: true,
      stdout: "pipe",
      onStdout: () => started.resolve(),
    });
    await started.promise;
    expect(sessionMembers(group.pid).length).toBe(2);
    expect(group.killGroup(9)).toBe(true);
    await group.exited; // stdout has its end only when the descendant is gone too
    expect(sessionMembers(group.pid).filter((entry) => entry.state !== "Z")).toEqual([]);
  });
});

describe("output", () => {
  test("all of it comes before exited, in order, on both streams", async () => {
    for (let i = 0; i < 20; i++) {
      const { stdout, stderr, status } = await collectOutput({ argv: ["/bin/sh", "-c", "seq 1 20000; seq 1 5000 >&2; exit 3"] });
      expect(stdout.length).toBe(108894);
      expect(stdout.endsWith("20000\n")).toBe(true);
      expect(stderr.endsWith("5000\n")).toBe(true);
      expect(exitCode(status)).toBe(3);
    }
  });

  test("a paused stream stops the writer and loses nothing", async () => {
    let got_bytes = 0;
    const first = Promise.withResolvers<void>();
    const child = spawnProcess({
      argv: ["head", "-c", "20000000", "/dev/zero"],
      stdout: "pipe",
      onStdout(chunk) {
        got_bytes += chunk.length;
        if (got_bytes === chunk.length) {
          child.stdout?.pause();
          first.resolve();
        }
      },
    });
    await first.promise;
    const blocked = await Promise.race([child.reaped, Bun.sleep(300)]); // a writer that is not stopped ends within 10 ms
    expect(blocked).toBeUndefined();
    expect(got_bytes).toBeLessThan(2_000_000);
    child.stdout?.resume();
    await child.exited;
    expect(got_bytes).toBe(20_000_000);
  });

  test("a stream paused until after the end still delivers what was written", async () => {
    let text = "";
    const child = spawnProcess({ argv: ["echo", "hello"], stdout: "pipe", onStdout: (chunk) => (text += Buffer.from(chunk).toString()) });
    child.stdout?.pause();
    await child.reaped;
    child.stdout?.resume();
    await child.exited;
    expect(text).toBe("hello\n");
  });

  test("a descendant that keeps stdout delays exited, linger_ms bounds that", async () => {
    const child = spawnProcess({ argv: ["/bin/sh", "-c", "sleep 100 & echo $!"], stdout: "pipe", linger_ms: 50, newSession: true });
    await child.exited;
    expect(sessionMembers(child.pid).length).toBe(1);
    child.killGroup(9);
  });
});

describe("input", () => {
  test("back-pressure: write says stop, drained says go, the reader gets all", async () => {
    let out = "";
    const child = spawnProcess({ argv: ["/bin/sh", "-c", "sleep 0.1; wc -c"], stdin: "pipe", stdout: "pipe", onStdout: (chunk) => (out += Buffer.from(chunk).toString()) });
    let stops = 0;
    for (let i = 0; i < 50; i++) {
      if (child.stdin?.write(new Uint8Array(100_000)) !== true) {
        stops++;
        await child.stdin?.drained();
      }
    }
    child.stdin?.end();
    await child.exited;
    expect(stops).toBeGreaterThan(0);
    expect(out.trim()).toBe("5000000");
  });

  test("a bound that is reached is ENOBUFS, a reader that is gone EPIPE", async () => {
    const child = spawnProcess({ argv: ["sleep", "100"], stdin: "pipe" });
    expect(failure(() => child.stdin?.write(new Uint8Array(17 * 1024 * 1024))).errno).toBe(errno.ENOBUFS);
    child.kill(9);
    await child.exited;
    await child.stdin?.closed;
    expect(failure(() => child.stdin?.write("x")).errno).toBe(errno.EPIPE);
  });

  test("null gives the end of file at once", async () => {
    expect(await sh("cat; echo end")).toBe("end");
  });
});

describe("failures to start", () => {
  test("each has its number and says what is missing", () => {
    writeFileSync(join(dir, "plain"), "x", { mode: 0o644 });
    mkdirSync(join(dir, "sub"));
    expect(failure(() => spawnProcess({ argv: ["no-such-program"] })).message).toBe("no-such-program: No such file or directory");
    const missing = failure(() => spawnProcess({ argv: ["/bin/true"], cwd: "/no/such/dir" }));
    expect([missing.errno, missing.message.includes("/no/such/dir")]).toEqual([errno.ENOENT, true]);
    expect(failure(() => spawnProcess({ argv: ["/bin/true"], cwd: join(dir, "plain") })).errno).toBe(errno.ENOTDIR);
    expect(failure(() => spawnProcess({ argv: [join(dir, "plain")] })).errno).toBe(errno.EACCES);
    expect(failure(() => spawnProcess({ argv: [join(dir, "sub")] })).errno).toBe(errno.EACCES);
    expect(failure(() => spawnProcess({ argv: ["/bin/true", "x".repeat(200_000)] })).errno).toBe(errno.E2BIG);
    expect(failure(() => spawnProcess({ argv: ["/bin/true", "a\0b"] })).errno).toBe(errno.EINVAL);
    expect(failure(() => spawnProcess({ argv: [] })).errno).toBe(errno.EINVAL);
  });

  test("a script without #! runs under /bin/sh, with its arguments", async () => {
    writeFileSync(join(dir, "script"), 'echo "$# $1"\n', { mode: 0o755 });
    const { stdout } = await collectOutput({ argv: ["./script", "a b", "c"], cwd: dir });
    expect(stdout).toBe("2 a b\n");
  });

  test("failures leak no descriptor", async () => {
    failure(() => spawnProcess({ argv: ["/bin/true", "x".repeat(200_000)], stdin: "pipe", stdout: "pipe", extraFds: [{}] }));
    const before = descriptors();
    for (let i = 0; i < 20; i++) failure(() => spawnProcess({ argv: ["/bin/true", "x".repeat(200_000)], stdin: "pipe", stdout: "pipe", extraFds: [{}] }));
    // What a test before left may go meanwhile.
    expect(descriptors()).toBeLessThanOrEqual(before);
  });
});

describe("what a child gets", () => {
  test("one that takes too long is killed, whatever it has started", async () => {
    const slow = collectOutput({ argv: ["/bin/sh", "-c", "sleep 5 & wait"], timeout_ms: 50, linger_ms: 50 });
    await expect(slow).rejects.toMatchObject({ errno: errno.ETIMEDOUT, message: "/bin/sh did not end within 0.05 s" });
  });

  test("exactly its environment, looked up in its own PATH, with its own argv[0]", async () => {
    writeFileSync(join(dir, "only-here"), "#!/bin/sh\nexport -p\n", { mode: 0o755 });
    const { stdout } = await collectOutput({ argv: ["only-here"], env: { PATH: dir, ONE: "1", NONE: undefined } });
    expect(stdout).toContain("ONE=");
    expect(stdout).not.toContain("HOME=");
    expect(stdout).not.toContain("NONE");
    expect(await sh('tr "\\0" " " < /proc/self/cmdline', {})).toContain("tr");
    expect((await collectOutput({ argv: ["cat", "/proc/self/cmdline"] })).stdout).toBe("cat\0/proc/self/cmdline\0");
  });

  test("no descriptor but its own", async () => {
    const held = [socketPair(), socketPair()].flat();
    const listed = await collectOutput({ argv: ["ls", "/proc/self/fd"] });
    for (const fd of held) closeFd(fd);
    expect(listed.stdout).toBe("0\n1\n2\n3\n"); // 3 is the directory that it reads
  });

  test("its CPUs, limits and umask, without changing ours", async () => {
    const mine = getAffinity();
    const [cpu = 0] = mine;
    expect(await sh("grep Cpus_allowed_list /proc/self/status", { cpus: [cpu] })).toBe(`Cpus_allowed_list:\t${cpu}`);
    expect(getAffinity()).toEqual(mine);
    const before = getRlimit("nofile");
    expect(await sh("ulimit -Sn")).toBe(String(launchNofile()));
    expect(await sh("ulimit -Sn", { rlimits: { nofile: 100 } })).toBe("100");
    expect(await sh("ulimit -St; ulimit -Sv; ulimit -Sc", { rlimits: { cpu: 7, as: 8_000_000_000, core: 0 } })).toBe("7\n7812500\n0");
    expect(getRlimit("nofile")).toEqual(before);
    const mask = process.umask();
    expect(await sh("umask", { umask: 0o27 })).toBe("0027");
    expect(process.umask()).toBe(mask);
  });

  test("a limit of open files below what we have open", async () => {
    const { openSync, closeSync } = await import("node:fs");
    const held = Array.from({ length: 60 }, () => openSync("/dev/null", "r"));
    try {
      expect(await sh("ulimit -Sn; echo done", { rlimits: { nofile: 30 } })).toBe("30\ndone");
    } finally {
      for (const fd of held) closeSync(fd);
    }
  });
});

describe("extra descriptors", () => {
  test("a duplex socket: nothing is lost, the end is seen, 200 times", async () => {
    const before = descriptors();
    for (let i = 0; i < 200; i++) {
      let text = "";
      let stream: FdStream | undefined;
      let ended = false;
      const child = spawnProcess({
        argv: ["/bin/sh", "-c", 'read -r line <&3; echo "got $line" >&3; head -c 100000 /dev/zero >&3'],
        extraFds: [{ onData: (chunk) => (text += Buffer.from(chunk).toString("latin1")), onEnd: () => (ended = true) }],
      });
      [stream] = child.extra;
      stream?.write("hello\nthis is never read\n");
      await child.exited;
      await stream?.closed;
      expect(ended).toBe(true);
      expect(text.length).toBe(10 + 100000);
      expect(text.startsWith("got hello\n")).toBe(true);
    }
    // What a test before left may go meanwhile.
    expect(descriptors()).toBeLessThanOrEqual(before);
  });
});

async function runHundred(): Promise<void> {
  for (let i = 0; i < 100; i++) {
    const child = spawnProcess({ argv: ["/bin/true"], stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    expect((await child.exited).status).toBe(0);
    await child.stdin?.closed;
  }
}

test("four hundred, four at a time, leave no descriptor", async () => {
  await runForStatus(["/bin/true"]);
  const before = descriptors();
  await Promise.all([runHundred(), runHundred(), runHundred(), runHundred()]);
  expect(descriptors()).toBeLessThanOrEqual(before);
});
