import { describe, expect, test } from "bun:test";
import { chmodSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { shellExitCode } from "../../src/formats/waitstatus.ts";
import { spawnPty } from "../../src/os/pty.ts";
import { receiveDatagrams } from "../support/datagrams.ts";
import { FLUX, processesIn, sandbox } from "./sandbox.ts";

describe("the initial program", () => {
  test("its exit code is the instance's", async () => {
    await using box = sandbox();
    expect(await box.flux("start", "true")).toMatchObject({ code: 0, stdout: "", stderr: "" });
    expect((await box.flux("start", "exit 3")).code).toBe(3);
    expect((await box.flux("start", "-s2", "exit 4")).code).toBe(4);
    expect((await box.flux("start", "kill -9 $$")).code).toBe(137);
    expect((await box.flux("start", "nosuchprogram")).code).toBe(127);
    await box.nothingLeft();
  });

  test("says in the log why it failed", async () => {
    await using box = sandbox();
    const { stderr } = await box.flux("start", "-s2", "exit 3");
    expect(stderr).toMatch(/broker\.err\[0\]: rc2\.0: exit 3 Exited \(rc=3\) \d+\.\ds\n/);
    expect(stderr).toMatch(/^flux-start: 0 \(pid \d+\) exited with rc=3$/m);
  });

  test("each broker tells of its way with -v, and more with -vv", async () => {
    await using box = sandbox();
    const { stderr } = await box.flux("start", "-s2", "-o-v", "true");
    for (const rank of [0, 1]) expect(stderr).toContain(`broker.info[${rank}]: boot: rank=${rank} size=2\n`);
    expect(stderr).not.toContain("entering event loop");
    expect((await box.flux("start", "-o", "--verbose=2", "true")).stderr).toContain("broker.info[0]: entering event loop\n");
  });

  test("one word is for the shell, more are program and arguments", async () => {
    await using box = sandbox();
    expect((await box.flux("start", "echo a; echo $((1+2))")).stdout).toBe("a\n3\n");
    expect((await box.flux("start", "echo", "a; b", "$HOME")).stdout).toBe("a; b $HOME\n");
  });

  test("a script is run as it is", async () => {
    await using box = sandbox();
    const script = join(box.dir, "script.sh");
    writeFileSync(script, '#!/bin/sh\necho "$0 in $(flux getattr size)"\nexit 7\n');
    chmodSync(script, 0o755);
    const { code, stdout } = await box.flux("start", "--test-size=3", script);
    expect(stdout).toBe(`${script} in 3\n`);
    expect(code).toBe(7);
  });

  test("finds the instance and nothing of its launcher in its environment", async () => {
    await using box = sandbox();
    const { stdout } = await box.flux("start", "-s2", "env");
    expect(stdout).toMatch(/^FLUX_URI=local:\/\/\S+\/local-0$/m);
    expect(stdout).not.toMatch(/^(PMI_|FLUX_LIFELINE|FLUX_STARTER|FLUX_LAUNCH)/m);
  });

  test("without a terminal there is no interactive shell", async () => {
    await using box = sandbox();
    expect(await box.flux("start")).toMatchObject({ code: 1, stderr: "flux-broker: stdin is not a tty - can't run interactive shell\n" });
    await box.nothingLeft();
  });
});

describe("brokers", () => {
  test.each([
    ["-s5", "-Stbon.topo=kary:2"],
    ["--test-size=5", "-Stbon.topo=kary:0"],
    ["--size=5", "-Stbon.prefertcp=1"],
  ])("%s %s form a tree in which every rank answers", async (size, attr) => {
    await using box = sandbox();
    const pings = "for r in 0 1 2 3 4; do flux ping -r $r --count=1 broker >/dev/null && echo $r; done; flux getattr hostlist; flux getattr tbon.endpoint";
    const { code, stdout } = await box.flux("start", size, attr, "--test-hosts=n[0-4]", pings);
    expect(stdout).toMatch(attr.includes("prefertcp") ? /^0\n1\n2\n3\n4\nn\[0-4\]\ntcp:/ : /^0\n1\n2\n3\n4\nn\[0-4\]\nipc:/);
    expect(code).toBe(0);
    await box.nothingLeft();
  });

  test("the one that dies early is named, and the others go", async () => {
    await using box = sandbox();
    const run = box.start("start", "-s3", "--test-exit-timeout=1s", "echo up; sleep 600");
    await run.saw("up");
    const victim = processesIn(box.dir).filter(({ command }) => command.includes("broker"))[2];
    process.kill(victim?.pid ?? -1, "SIGKILL");
    const { code, stderr } = await run.finished;
    expect(stderr).toMatch(/^flux-start: \d \(pid \d+\) Killed$/m);
    expect(code).toBe(137);
    await box.nothingLeft();
  });
});

describe("a signal to the starter ends everything", () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"]) {
    test(signal, async () => {
      await using box = sandbox();
      const run = box.start("start", "-s3", "(sleep 600; true) & echo up; sleep 600");
      await run.saw("up");
      expect(readdirSync(box.dir).length).toBeGreaterThan(0);
      run.child.kill(signal);
      const { code } = await run.finished;
      expect(code).toBeGreaterThan(128);
      await box.nothingLeft();
    });
  }

  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) {
    test(`${signal} of a broker without a starter`, async () => {
      await using box = sandbox();
      const run = box.start("start", "echo up; sleep 600; true");
      await run.saw("up");
      run.child.kill(signal);
      expect((await run.finished).code).toBe(129);
      await box.nothingLeft();
    });
  }
});

describe("wrong use", () => {
  test.each([
    [["start", "--nosuch"], "flux-start: unrecognized option '--nosuch'"],
    [["start", "-s0", "true"], "--test-size argument must be > 0"],
    [["start", "-sx", "true"], "requires an integer argument"],
    [["start", "-Snosuch=1", "true"], "flux-broker: nosuch: unknown attribute"],
    [["start", "-Srank=1", "true"], "flux-broker: rank: attribute may not be set on the command line"],
    [["start", "-c", "/nowhere", "true"], "Config file error: stat: /nowhere: No such file or directory"],
    [["start", "--conf=access.allow-guest-user=yes", "true"], "flux-broker: Config file error: "],
    [["start", "-s3", "--test-hosts=a,b", "true"], "flux-start: --test-hosts hostlist has incorrect size"],
    [["start", "-Stbon.topo=ring", "true"], "unknown topology 'ring'"],
    [["start", "--test-hosts=a", "true"], "--test-hosts only works with --test-size"],
    [["nosuch"], "flux: 'nosuch' is not a flux command"],
  ])("%j", async (args, message) => {
    await using box = sandbox();
    const { code, stderr } = await box.flux(...args);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
    await box.nothingLeft();
  });
});

test("an interactive shell has the terminal, with job control, and gives it back", async () => {
  await using box = sandbox();
  let screen = "";
  const waiting: { text: string; resolve: () => void }[] = [];
  const saw = (text: string): Promise<void> =>
    new Promise((resolve) => {
      if (screen.includes(text)) resolve();
      else waiting.push({ text, resolve });
    });
  const terminal = spawnPty({
    argv: ["/bin/sh", "-c", `${FLUX} start -s2; echo "code=$?"; ps -o pgid=,tpgid= -p $$ | awk '{ print ($1 == $2) ? "mine" : "lost" }'`],
    env: { ...box.env, SHELL: "/bin/bash", PS1: "", ENV: "", HOME: box.dir },
    onData(chunk) {
      screen += Buffer.from(chunk).toString();
      for (const item of waiting) if (screen.includes(item.text)) item.resolve();
    },
  });
  terminal.write("echo ready-$((40+2))\r");
  await saw("ready-42");
  terminal.write("sleep 600\r");
  await saw("sleep 600\r\n");
  // A foreground job must have the terminal before ^Z can reach it.
  while (!processesIn(box.dir).some(({ command }) => command.startsWith("sleep 600"))) await Bun.sleep(5);
  terminal.write("\x1a");
  await saw("Stopped");
  terminal.write("kill %1; echo size=$(flux getattr size); exit 6\r");
  await saw("size=2");
  const { status } = await terminal.exited;
  expect(screen).toContain("code=6");
  expect(screen).toContain("mine");
  expect(shellExitCode(status)).toBe(0);
  await Bun.write(join(box.dir, ".bash_history"), "");
  const { rmSync } = await import("node:fs");
  rmSync(join(box.dir, ".bash_history"));
  await box.nothingLeft();
});

test("a broker that systemd runs says that it is up and what it does", async () => {
  await using box = sandbox();
  const notified = receiveDatagrams(join(box.dir, "notify"));
  // The kernel keeps no more than ten of them.
  const told: string[] = [];
  const reader = setInterval(() => told.push(...notified.take()), 1);
  const env = { ...box.env, NOTIFY_SOCKET: join(box.dir, "notify") };
  const child = Bun.spawn([FLUX, "broker", "-Sbroker.sd-notify=1", "-Sbroker.sd-stop-timeout=90", "echo hear=$NOTIFY_SOCKET"], { env, stdout: "pipe", stdin: "ignore" });
  expect(await child.stdout.text()).toBe("hear=\n");
  expect(await child.exited).toBe(0);
  clearInterval(reader);
  told.push(...notified.take());
  notified.close();
  expect(told[0]).toBe("READY=1");
  const [began, running] = [told.indexOf("STATUS=Running echo hear=$NOTIFY_SOCKET"), told.indexOf("STATUS=Running as leader of 1 node Flux instance")];
  expect([began > 0, running > began]).toEqual([true, true]);
  expect(told).toContain("EXTEND_TIMEOUT_USEC=90000000");
  expect(told.at(-1)).toBe("STATUS=Exiting");
});

test.each([
  [[], "shared"],
  [["-Sbroker.rc2_pgrp=1"], "own"],
])("a broker that leads its process group, with %j: the initial program's is %s", async (options, whose) => {
  await using box = sandbox();
  let screen = "";
  const terminal = spawnPty({
    argv: ["/bin/bash", "-c", `set -m; ${FLUX} broker ${options.join(" ")} 'ps -o pgid=,tpgid= -p $$; ps -o pgid= -p $(flux getattr broker.pid)'; echo code=$?`],
    env: { ...box.env, HOME: box.dir },
    onData(chunk) {
      screen += Buffer.from(chunk).toString();
    },
  });
  await terminal.exited;
  const [, program, foreground, broker] = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+code=0/.exec(screen) ?? [];
  expect({ screen, foreground, isOwn: program !== broker }).toEqual({ screen, foreground: program, isOwn: whose === "own" });
});
