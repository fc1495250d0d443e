// Jobs on a real terminal: `flux run -o pty.interactive` and `flux alloc`, driven through a pseudo-terminal of the test's own.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Instance, startInstance } from "./flux.ts";
import { fluxOnTty, type Tty } from "./tty.ts";

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance(2);
});
afterAll(() => instance.stop());

const terminal = (args: readonly string[]): Tty => fluxOnTty(instance, args);

test("a shell as a job: window size, a resize, ctrl-C for what runs in it, its exit code", async () => {
  const tty = terminal(["run", "-o", "pty.interactive", "sh"]);
  await tty.shows("prompt> ");
  tty.type("stty size; tty\n");
  await tty.shows(/31 101\r\n\/dev\/pts\/\d+/);
  tty.child.resize({ columns: 66, rows: 44 });
  tty.type("until test \"$(stty size)\" = '44 66'; do :; done; echo re''sized\n");
  await tty.shows("resized");
  tty.type("echo be''gun; sleep 600\n");
  await tty.shows("begun");
  tty.type("\x03");
  await tty.shows("prompt> ");
  tty.type("exit 5\n");
  expect(await tty.code).toBe(5);
  expect(tty.screen).toContain("[detached: session exiting]");
});

test("ctrl-\\ leaves the job alone; flux job attach comes back to it", async () => {
  const first = terminal(["run", "-o", "pty.interactive", "sh"]);
  await first.shows("prompt> ");
  first.type("word=kept; echo JOB=$FLUX_JOB_ID.\n");
  await first.shows(/JOB=ƒ\w+\./);
  const id = /JOB=(ƒ\w+)\./.exec(first.screen)?.[1] ?? "";
  first.type("\x1c");
  expect(await first.code).toBe(0);
  expect(first.screen).toContain("[detached: Client requested detach]");
  expect((await instance.flux(["jobs", "-no", "{state}", id])).stdout).toBe("RUN\n");
  const second = terminal(["job", "attach", id]);
  // Nothing was shown since: the shell waits at its prompt.
  second.type("echo $word; exit 6\n");
  await second.shows("kept\r\n");
  expect(await second.code).toBe(6);
});

test("flux alloc: a shell in an instance of its own; exit gives the resources back", async () => {
  const tty = terminal(["alloc", "-N2"]);
  await tty.shows("prompt> ");
  tty.type("flux uptime\n");
  await tty.shows(/depth 1, {2}size 2/);
  tty.type("flux run -N2 -l stty size; flux run -o pty.interactive tty\n");
  await tty.shows(/\/dev\/pts\/\d+/);
  // Until then, what is typed is the job's.
  await tty.shows("prompt> ");
  tty.type("exit\n");
  expect(await tty.code).toBe(0);
  expect((await instance.flux(["jobs", "-n"])).stdout).toBe("");
});

test("without a terminal, input and output pass through the job's terminal", async () => {
  const { stdout, code } = await instance.flux(["run", "-o", "pty.interactive", "sh", "-c", "stty -echo; echo ready; read line; echo got $line; exit 4"], { input: "typed\n" });
  expect(stdout).toContain("got typed");
  expect(code).toBe(4);
});

test("what prints JSON for programs is not shown to people", async () => {
  expect((await instance.flux(["job", "--help"])).stdout).not.toContain("list");
  for (const command of ["list", "list-ids", "list-inactive"]) {
    const tty = terminal(["job", command]);
    expect(await tty.code).toBe(1);
    expect(tty.screen).toBe("This is not the command you are looking for. Try flux-jobs(1).\r\n");
    expect((await instance.flux(["job", command, "--help"])).stdout).toContain(`Usage: flux job ${command}`);
  }
});
