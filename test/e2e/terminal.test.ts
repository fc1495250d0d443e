// Flux in a terminal: what Ctrl-C, Ctrl-Z, job control and a hang-up do to the initial program, to a command, and to
// all that the instance has started.
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { shellExitCode } from "../../src/formats/waitstatus.ts";
import { type PtyChild, spawnPty } from "../../src/os/pty.ts";
import { FLUX, processesIn, type Sandbox, sandbox } from "./sandbox.ts";

const WAIT_MS = 20_000;

interface Terminal {
  readonly child: PtyChild;
  readonly screen: () => string;
  /** Waits until the screen shows the text, after what was awaited before. */
  saw(text: string): Promise<void>;
  type(line: string): void;
}

/** A terminal with a shell in it whose prompt is empty. */
function openTerminal(box: Sandbox, script: string): Terminal {
  let screen = "";
  let seen = 0;
  let wake = (): void => undefined;
  const child = spawnPty({
    argv: ["/bin/sh", "-c", script],
    env: { ...box.env, SHELL: "/bin/bash", PS1: "", ENV: "", HOME: box.dir, HISTFILE: undefined, INPUTRC: "/dev/null" },
    onData(chunk) {
      screen += Buffer.from(chunk).toString();
      wake();
    },
  });
  return {
    child,
    screen: () => screen,
    type: (line) => child.write(`${line}\r`),
    async saw(text) {
      const timeout = Promise.withResolvers<never>();
      const timer = setTimeout(() => timeout.reject(new Error(`waited in vain for '${text}' on the screen:\n${screen}`)), WAIT_MS);
      try {
        for (;;) {
          const at = screen.indexOf(text, seen);
          if (at >= 0) {
            seen = at + text.length;
            return;
          }
          const more = Promise.withResolvers<void>();
          wake = more.resolve;
          await Promise.race([more.promise, timeout.promise]);
        }
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

/** A shell in the instance that answers, without a history file that it would leave. */
async function inShell(terminal: Terminal): Promise<void> {
  terminal.type("unset HISTFILE; echo ready-$((40+2))");
  await terminal.saw("ready-42");
}

/** The whole command line; the path of `flux` does not matter. */
function matches(line: string, command: string): boolean {
  return line.replace(/^\S*\/flux /, "flux ") === command;
}

async function untilRuns(box: Sandbox, command: string, wanted: boolean = true): Promise<void> {
  const until_ms = Date.now() + WAIT_MS;
  while (processesIn(box.dir).some((entry) => matches(entry.command.trim(), command)) !== wanted) {
    if (Date.now() > until_ms) throw new Error(`${command} ${wanted ? "does not run" : "still runs"}`);
    await Bun.sleep(10);
  }
}

/** Until the command has the terminal: before that, a key is not for it. */
async function untilForeground(box: Sandbox, command: string): Promise<void> {
  const until_ms = Date.now() + WAIT_MS;
  for (;;) {
    const pid = processesIn(box.dir).find((entry) => entry.command.trim() === command)?.pid;
    const [state, , pgrp, , , tpgid] = pid === undefined ? [] : readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
    if (state === "S" && pgrp === tpgid) return;
    if (Date.now() > until_ms) throw new Error(`${command} does not get the terminal`);
    await Bun.sleep(10);
  }
}

test("Ctrl-C is for the command in the foreground; the shell and the instance stay", async () => {
  await using box = sandbox();
  const terminal = openTerminal(box, `${FLUX} start -s2; echo "code=$?"`);
  await inShell(terminal);
  terminal.type("sleep 600");
  await untilRuns(box, "sleep 600");
  terminal.child.write("\x03");
  terminal.type("echo after=$?");
  await terminal.saw("after=130");
  // Twice within two seconds cancels the job of `flux run`.
  terminal.type("flux run sleep 601");
  await untilRuns(box, "sleep 601");
  terminal.child.write("\x03");
  await terminal.saw("ctrl-C within 2s");
  terminal.child.write("\x03");
  // While it runs it takes what is typed for its job.
  await untilRuns(box, "flux run sleep 601", false);
  terminal.type("echo then=$?");
  await terminal.saw("then=143");
  terminal.type("echo size=$(flux getattr size)");
  await terminal.saw("size=2");
  terminal.type("exit 5");
  await terminal.saw("code=5");
  await terminal.child.exited;
  await box.nothingLeft();
});

test("Ctrl-C ends an instance whose initial program is not a shell, with its exit code", async () => {
  await using box = sandbox();
  const terminal = openTerminal(box, `trap : INT; ${FLUX} start -s2 sleep 600; echo "code=$?"`);
  await untilRuns(box, "sleep 600");
  terminal.child.write("\x03");
  await terminal.saw("code=130");
  await terminal.child.exited;
  await box.nothingLeft();
});

test("jobs of the shell stop, continue, and go with it", async () => {
  await using box = sandbox();
  const terminal = openTerminal(box, `${FLUX} start; echo "code=$?"`);
  await inShell(terminal);
  terminal.type("sleep 600");
  await untilRuns(box, "sleep 600");
  terminal.child.write("\x1a");
  await terminal.saw("Stopped");
  terminal.type("bg; jobs -r | wc -l");
  await terminal.saw("\n1");
  terminal.type("fg");
  await untilForeground(box, "sleep 600");
  terminal.child.write("\x1a");
  await terminal.saw("Stopped");
  terminal.type("sleep 602 &");
  await untilRuns(box, "sleep 602");
  // The first time, a shell warns of stopped jobs.
  terminal.type("exit 3");
  await terminal.saw("stopped jobs");
  terminal.type("exit 3");
  await terminal.saw("code=3");
  await terminal.child.exited;
  await box.nothingLeft();
});

for (const size of [[], ["-s3"]]) {
  test(`the terminal hangs up: flux start ${size.join(" ")}`, async () => {
    await using box = sandbox();
    const terminal = openTerminal(box, `exec ${FLUX} start ${size.join(" ")}`);
    await inShell(terminal);
    terminal.type("flux submit --quiet sleep 600; sleep 601 & sleep 602");
    for (const command of ["sleep 600", "sleep 601", "sleep 602"]) await untilRuns(box, command);
    terminal.child.close();
    await box.nothingLeft();
  });
}

for (const signal of ["SIGTERM", "SIGKILL"]) {
  test(`the starter is killed by ${signal} under an interactive shell`, async () => {
    await using box = sandbox();
    const terminal = openTerminal(box, `exec ${FLUX} start -s2`);
    await inShell(terminal);
    terminal.type("flux submit --quiet sleep 600; sleep 601");
    for (const command of ["sleep 600", "sleep 601"]) await untilRuns(box, command);
    terminal.child.kill(signal);
    const { status } = await terminal.child.exited;
    expect(shellExitCode(status)).toBeGreaterThan(128);
    await box.nothingLeft();
  });
}

test("in a pipe the instance has no terminal, and its end is the pipe's", async () => {
  await using box = sandbox();
  const { code, stdout } = await box.sh("flux start -s2 'echo out; flux run cat; exit 4' </dev/null | cat; echo done");
  expect([code, stdout]).toEqual([0, "out\ndone\n"]);
  const early = await box.sh("flux start -s2 'yes' | head -n 1");
  expect([early.code, early.stdout]).toEqual([0, "y\n"]);
  await box.nothingLeft();
});

test("without a controlling terminal", async () => {
  await using box = sandbox();
  expect(await box.sh("setsid --wait flux start -s2 'flux run echo alone'")).toMatchObject({ code: 0, stdout: "alone\n" });
  await box.nothingLeft();
});

test("flux bulksubmit says that it waits for what is typed", async () => {
  await using box = sandbox();
  const terminal = openTerminal(box, `${FLUX} bulksubmit --dry-run echo {}; echo "code=$?"`);
  await terminal.saw("flux-bulksubmit: reading inputs from stdin, one a line; ctrl-D ends them");
  terminal.type("one");
  terminal.child.write("\x04");
  await terminal.saw("bulksubmit: submit echo one");
  await terminal.saw("code=0");
  await terminal.child.exited;
});
