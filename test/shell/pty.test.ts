// Tasks on terminals (-o pty), and files that travel in the jobspec.
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Stream } from "../../src/client/stream.ts";
import type { JsonObject } from "../../src/formats/json.ts";
import { errno } from "../../src/message/errno.ts";
import { jobspec, type JobLab, startLab } from "./support.ts";

let lab: JobLab;
beforeAll(async () => {
  lab = await startLab(2);
});
afterAll(() => lab.stop());

const member = (object: JsonObject | undefined, name: string): string => {
  const value = object?.[name];
  return typeof value === "string" ? value : "";
};
const text = (payload: JsonObject): string => {
  const data = member(payload, "data");
  return payload["encoding"] === "base64" ? Buffer.from(data, "base64").toString() : data;
};

/** What the terminal shows until `wanted` is there. */
async function until(stream: Stream, wanted: string): Promise<string> {
  let seen = "";
  for (;;) {
    const item = await stream.next();
    if (item.done === true) throw new Error(`the terminal ended without ${wanted}: ${seen}`);
    if (item.value["type"] === "data") seen += text(item.value);
    if (seen.includes(wanted)) return seen;
  }
}

/** The rest of a terminal's life: its last message. */
async function exitOf(stream: Stream): Promise<JsonObject | undefined> {
  let exit: JsonObject | undefined;
  for await (const payload of stream) if (payload["type"] === "exit") exit = payload;
  return exit;
}

/** The topic of the terminal, from the job's shell.init event. */
async function terminalOf(id: bigint): Promise<string> {
  for (;;) {
    const init = lab.kvsState.namespaces.get(`job-${id}`)?.has("exec.eventlog") === true ? lab.execlog(id).find(({ name }) => name === "shell.init") : undefined;
    if (init !== undefined) return `${member(init.context, "service")}.${member(init.context, "pty")}`;
    await Bun.sleep(5);
  }
}

test("every task has a terminal of its own, whose output is the task's", async () => {
  const script = "test -t 0 && test -t 1 && test -t 2 && echo $FLUX_TERMINUS_SESSION $(stty size) && echo err >&2; : >/dev/tty";
  const job = await lab.run(["sh", "-c", script], { nodes: [0, 1], ntasks: 2, shell: { pty: 1 } });
  expect(job.status()).toBe(0);
  const { stdout, stderr } = lab.output(job.id);
  expect(stdout.replaceAll("\r", "").trim().split("\n").sort()).toEqual(["0 25 80", "1 25 80", "err", "err"]);
  expect(stderr).toBe("");
});

test("only some ranks; PMI goes with a terminal", async () => {
  const script = 'if test -t 1; then echo $FLUX_TASK_RANK tty; else echo $FLUX_TASK_RANK no; fi; test -e /proc/self/fd/"$PMI_FD" && echo pmi';
  const job = await lab.run(["sh", "-c", script], { ntasks: 3, shell: { pty: { ranks: "1" } } });
  expect(lab.output(job.id).stdout.replaceAll("\r", "").trim().split("\n").sort()).toEqual(["0 no", "1 tty", "2 no", "pmi", "pmi", "pmi"]);
});

test("interactive: attach, type, resize, detach, come back, and the end", async () => {
  const job = lab.submit(jobspec(["sh", "-c", "stty size; while read line; do stty size; echo got $line; test $line = end && exit 7; done"], { shell: { pty: { interactive: 1 } } }), [0]);
  const topic = await terminalOf(job.id);
  const first = lab.h.stream(topic, { type: "attach", mode: "rw", winsize: { rows: 11, cols: 22 } });
  expect(await first.next()).toEqual({ done: false, value: { type: "attach" } });
  const send = (payload: JsonObject) => lab.h.rpc(topic, payload);
  await expect(lab.h.rpc(topic, { type: "nonsense" })).rejects.toMatchObject({ errno: errno.ENOSYS });
  await send({ type: "resize", winsize: { rows: 33, cols: 44 } });
  await expect(send({ type: "resize", winsize: { rows: 0, cols: 44 } })).rejects.toMatchObject({ errno: errno.EINVAL });
  await send({ type: "data", data: "one\n" });
  expect(await until(first, "got one")).toContain("33 44");
  await send({ type: "detach" });
  expect(await exitOf(first)).toEqual({ type: "exit", message: "Client requested detach", status: 0 });
  await expect(send({ type: "data", data: "lost\n" })).rejects.toMatchObject({ errno: errno.ENOENT });
  const second = lab.h.stream(topic, { type: "attach", mode: "rw", winsize: { rows: 5, cols: 6 } });
  await second.next();
  await send({ type: "data", encoding: "base64", data: Buffer.from("end\n").toString("base64") });
  await until(second, "got end");
  expect(await exitOf(second)).toEqual({ type: "exit", message: "session exiting", status: 7 << 8 });
  expect((await job.done).status()).toBe(7 << 8);
  // Without capture, what the terminal showed is nobody's output.
  expect(lab.output(job.id).stdout).toBe("");
});

test("interactive: what other tasks' terminals show is output, since nobody sees them", async () => {
  const job = lab.submit(jobspec(["sh", "-c", "echo of $FLUX_TASK_RANK"], { ntasks: 2, shell: { pty: { interactive: 1, ranks: "all" } } }), [0]);
  const reader = lab.h.stream(await terminalOf(job.id), { type: "attach", mode: "ro" });
  expect(await until(reader, "of 0")).toBe("of 0\r\n");
  await job.done;
  expect(lab.output(job.id).stdout).toBe("of 1\r\n");
});

test("interactive: what was shown before anybody came is kept, and the end waits", async () => {
  const job = lab.submit(jobspec(["echo", "early"], { shell: { pty: { interactive: 1, capture: 1 } } }), [0]);
  const topic = await terminalOf(job.id);
  const reader = lab.h.stream(topic, { type: "attach", mode: "ro" });
  expect(await until(reader, "early")).toBe("early\r\n");
  expect(await exitOf(reader)).toMatchObject({ message: "session exiting", status: 0 });
  await job.done;
  expect(lab.output(job.id).stdout).toBe("early\r\n");
  expect(lab.execlog(job.id).find(({ name }) => name === "shell.init")?.context?.["capture"]).toBe(1);
});

test("a job that is cancelled doesn't wait for somebody to look at its terminal", async () => {
  const job = lab.submit(jobspec(["sleep", "600"], { shell: { pty: { interactive: 1 } } }), [0]);
  await job.started;
  lab.raise(job.id);
  expect((await job.done).status()).not.toBe(0);
});

test("wrong options are refused by name", async () => {
  const job = await lab.run(["true"], { shell: { pty: { foo: 1 } } });
  expect(job.raised[0]?.["note"]).toContain("invalid shell pty option: pty.foo");
});

test("files of the jobspec are in the job's directory", async () => {
  const files = {
    script: { mode: 0o100700, encoding: "utf-8", data: "#!/bin/sh\necho script $@\n" },
    "sub/conf.json": { mode: 0o100600, data: { a: [1, 2] } },
    bytes: { mode: 0o100644, encoding: "base64", data: Buffer.from([1, 2, 255]).toString("base64") },
    link: { mode: 0o120777, encoding: "utf-8", data: "bytes" },
  };
  const script = 'cd $FLUX_JOB_TMPDIR; ./script x; cat sub/conf.json; echo; od -An -tu1 link; stat -c %a script sub/conf.json';
  const job = await lab.run(["sh", "-c", script], { system: { files } });
  expect(lab.output(job.id).stdout).toBe('script x\n{"a":[1,2]}\n   1   2 255\n700\n600\n');
  const escape = await lab.run(["true"], { system: { files: { "../evil": { mode: 0o100600, encoding: "utf-8", data: "x" } } } });
  expect(escape.raised[0]?.["note"]).toContain("not a relative path");
});
