// flux top on a terminal: live, into an instance and back, and the terminal as it was on every way out.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { FLUX, type Instance, startInstance } from "./flux.ts";
import { fluxOnTty, onTty, type Tty } from "./tty.ts";

const LEFT = "\x1b[?25h\x1b[?1049l";

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance(2, ["--conf=queues.batch={}", "--conf=queues.debug={}", '--conf=policy.jobspec.defaults.system.queue="batch"']);
  expect((await instance.flux(["queue", "start", "--all"])).code).toBe(0);
});
afterAll(() => instance.stop());

/** Keeps a job that runs until it is cancelled. */
async function job(...words: string[]): Promise<{ id: string; [Symbol.asyncDispose](): Promise<void> }> {
  const { stdout, stderr } = await instance.flux(words.length > 0 ? words : ["submit", "sleep", "600"]);
  expect(stderr).toBe("");
  const id = stdout.trim();
  return {
    id,
    async [Symbol.asyncDispose]() {
      await instance.flux(["cancel", id]);
      await instance.flux(["job", "wait-event", id, "clean"]);
    },
  };
}

/** `flux top` in a shell that then says how the terminal is. */
function topInShell(...words: string[]): Tty {
  return onTty(instance, ["sh", "-c", `echo tty=$(stty -g); ${FLUX} top ${words.join(" ")}; echo code=$?; echo tty=$(stty -g)`]);
}

/** The settings of the terminal before and after are the same, and the screen is the old one. */
function expectRestored({ screen }: Tty): void {
  const [before, after] = [...screen.matchAll(/tty=(\S+)/g)].map(([, settings]) => settings);
  expect(after).toBe(before as string);
  expect(after).toBeString();
  expect(screen).toContain(LEFT);
}

test("jobs come and go; counts, the queue, the size of the window; q leaves the terminal as it was", async () => {
  const tty = topInShell();
  await tty.shows("No jobs to display");
  {
    await using running = await job("submit", "-q", "debug", "--job-name=mine", "sleep", "600");
    await tty.shows(new RegExp(`${running.id}    debug .*mine`));
    tty.type("l");
    await tty.shows("No jobs to display in queue batch");
    tty.type("l");
    await tty.shows("mine");
    tty.child.resize({ columns: 70, rows: 20 });
    await tty.shows(/\x1b\[2J.*mine/s); // eslint-disable-line no-control-regex
  }
  await tty.shows(/1.*failed/);
  await tty.shows("No jobs to display in queue debug");
  tty.type("d");
  await tty.shows("1 inactive");
  tty.type("q");
  await tty.shows("code=0");
  await tty.code;
  expectRestored(tty);
});

test("into an instance that is a job, and back; it ends while we look", async () => {
  await using nested = await job("alloc", "-n1", "--bg", "sh", "-c", "flux submit -q '' --job-name=inner sleep 600 || flux submit --job-name=inner sleep 600; sleep 600");
  const tty = fluxOnTty(instance, ["top"]);
  await tty.shows(nested.id);
  tty.type("j\r");
  await tty.shows(new RegExp(`/${nested.id}.*inner`, "s"));
  tty.type("q");
  await tty.shows(nested.id);
  tty.type("\r");
  await tty.shows("inner");
  await instance.flux(["cancel", nested.id]);
  await tty.shows(`${nested.id} has ended`);
  tty.type("q");
  expect(await tty.code).toBe(0);
});

test("TARGET is a job", async () => {
  await using nested = await job("alloc", "-n1", "--bg", "sleep", "600");
  const tty = fluxOnTty(instance, ["top", nested.id]);
  await tty.shows("depth: 1");
  tty.type("q");
  expect({ code: await tty.code, screen: tty.screen }).toMatchObject({ code: 0 });
});

test.each([["SIGTERM", 143], ["SIGINT", 130], ["SIGHUP", 129]] as const)("%s gives the terminal back", async (signal, code) => {
  const tty = onTty(instance, ["sh", "-c", `echo tty=$(stty -g); sh -c 'echo pid=$$; exec ${FLUX} top'; echo code=$?; echo tty=$(stty -g)`]);
  await tty.shows("No jobs");
  process.kill(Number(/pid=(\d+)/.exec(tty.screen)?.[1]), signal);
  await tty.shows(`code=${code}`);
  await tty.code;
  expectRestored(tty);
});

test("ctrl-C; a queue that isn't there; a terminal that can't; no terminal", async () => {
  const tty = topInShell();
  await tty.shows("No jobs");
  tty.type("\x03");
  await tty.shows("code=0");
  await tty.code;
  expectRestored(tty);
  const wrong = fluxOnTty(instance, ["top", "-q", "nope"]);
  expect(await wrong.code).toBe(1);
  expect(wrong.screen).toBe("flux-top: queue nope not configured\r\n");
  const dumb = onTty(instance, ["env", "TERM=dumb", FLUX, "top"]);
  expect(await dumb.code).toBe(1);
  expect(await instance.flux(["top"])).toEqual({ stdout: "", stderr: "flux-top: stdin is not a terminal\n", code: 1 });
  expect((await instance.flux(["top", "--color=sometimes"])).stderr).toBe("flux-top: Invalid argument for --color: 'sometimes'\n");
});

test("the end of the instance is said, with exit code 1", async () => {
  await using nested = await job("alloc", "-n1", "--bg", "sleep", "600");
  const tty = topInShell(nested.id);
  await tty.shows("No jobs");
  await instance.flux(["cancel", nested.id]);
  await tty.shows("flux-top: the connection to the instance is lost");
  await tty.code;
  expect(tty.screen).toContain("code=1");
  expectRestored(tty);
});
