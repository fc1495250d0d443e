// rexec (RFC 42) on a tree of brokers, and our client of it, with real processes.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { endOfSubprocess, killSubprocess, listSubprocesses, startInBackground, startSubprocess } from "../../../src/client/subprocess.ts";
import { errno } from "../../../src/message/errno.ts";
import rexec from "../../../src/modules/rexec/rexec.ts";
import { readProcess } from "../../../src/os/process-tree.ts";
import { startCluster, type Cluster } from "../../support/cluster.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ size: 3, modules: [rexec] });
});

afterAll(async () => {
  await cluster.stop();
});

const ENV = { PATH: "/usr/bin:/bin" };

async function run(argv: string[], rank = 2, extra: object = {}): Promise<{ status: number; out: string; err: string }> {
  const got = { out: "", err: "" };
  const add = (key: "out" | "err") => (data: Uint8Array) => (got[key] += Buffer.from(data).toString());
  const status = await startSubprocess(cluster.open(1), { argv, env: ENV, rank, onStdout: add("out"), onStderr: add("err"), ...extra }).exited;
  return { status, ...got };
}

test("output, exit code and signal of a program on another broker", async () => {
  expect(await run(["sh", "-c", "echo hi; echo err >&2; exit 3"])).toEqual({ status: 3 << 8, out: "hi\n", err: "err\n" });
  expect((await run(["sh", "-c", "kill -9 $$"])).status).toBe(9);
});

test("responses are those of RFC 42, in an order that stock clients take", async () => {
  const h = cluster.open(0);
  const seen: unknown[] = [];
  const cmd = { cmdline: ["cat"], env: ENV, opts: {}, channels: [] };
  const stream = h.stream("rexec.exec", { cmd, flags: 11 }, { nodeid: 1 });
  for await (const response of stream) {
    seen.push({ ...response, ...("pid" in response && { pid: 0 }) });
    if (response["type"] !== "started") continue;
    h.notify("rexec.write", { matchtag: stream.matchtag, io: { stream: "stdin", rank: "0", data: "in\n" } }, { nodeid: 1 });
    h.notify("rexec.write", { matchtag: stream.matchtag, io: { stream: "stdin", rank: "0", eof: true } }, { nodeid: 1 });
  }
  expect(seen.slice(0, 3)).toEqual([
    { type: "started", pid: 0 },
    { type: "add-credit", channels: { stdin: 4194304 } },
    { type: "add-credit", channels: { stdin: 3 } },
  ]);
  expect(seen).toContainEqual({ type: "output", pid: 0, io: { stream: "stdout", rank: "1", data: "in\n" } });
  expect(seen).toContainEqual({ type: "output", pid: 0, io: { stream: "stdout", rank: "1", eof: true } });
  expect(seen).toContainEqual({ type: "output", pid: 0, io: { stream: "stderr", rank: "1", eof: true } });
  expect(seen.at(-1)).toEqual({ type: "finished", status: 0 });
});

test("a program that is not there", async () => {
  await expect(run(["nosuchprog"])).rejects.toMatchObject({ errno: errno.ENOENT, message: "error launching process: No such file or directory" });
  await expect(run(["/etc/passwd"])).rejects.toMatchObject({ errno: errno.EACCES });
});

test("a directory that is not there", async () => {
  const { out, err } = await run(["pwd"], 1, { cwd: "/nowhere" });
  expect(out).toBe("/tmp\n");
  expect(err).toBe("Could not change dir to /nowhere: No such file or directory. Going to /tmp instead\n");
});

test("10 MB go in and out again under flow control", async () => {
  const h = cluster.open(0);
  let size = 0;
  const p = startSubprocess(h, { argv: ["cat"], env: ENV, rank: 1, onStdout: (data) => (size += data.length) });
  const block = Buffer.alloc(1 << 20, "x");
  for (let i = 0; i < 10; i++) await p.write(block);
  p.end();
  expect(await p.exited).toBe(0);
  expect(size).toBe(10 << 20);
});

test("who leaves takes the process along", async () => {
  const h = cluster.open(1);
  const p = startSubprocess(h, { argv: ["sleep", "100"], env: ENV, rank: 2 });
  const pid = await p.started;
  const gone = (): boolean => (readProcess(pid)?.state ?? "Z") === "Z";
  expect(gone()).toBe(false);
  p.cancel();
  for (let i = 0; i < 200 && !gone(); i++) await Bun.sleep(5);
  expect(gone()).toBe(true);
});

const PLACE = { rank: 1 };

test("background processes: label, list, kill, wait", async () => {
  const h = cluster.open(0);
  const pid = await startInBackground(h, { argv: ["sleep", "100"], env: ENV, rank: 1, label: "nap", waitable: true });
  expect(await listSubprocesses(h, PLACE)).toEqual([{ rank: 1, pid, cmd: "sleep", label: "nap", state: "R" }]);
  await expect(startInBackground(h, { argv: ["true"], env: ENV, rank: 1, label: "nap" })).rejects.toMatchObject({ errno: errno.EEXIST });
  await expect(killSubprocess(h, "other", 15, PLACE)).rejects.toMatchObject({ errno: errno.ESRCH });
  await killSubprocess(h, "nap", 15, PLACE);
  expect(await endOfSubprocess(h, "nap", PLACE)).toEqual({ status: 15, output: [] });
  await expect(endOfSubprocess(h, pid, PLACE)).rejects.toMatchObject({ errno: errno.ESRCH });
  await expect(killSubprocess(h, process.pid, 99, PLACE)).rejects.toMatchObject({ errno: errno.ESRCH });
  expect(await listSubprocesses(h, PLACE)).toEqual([]);
});

test("attach to a background process, leave it, and it goes on", async () => {
  const h = cluster.open(0);
  const pid = await startInBackground(h, { argv: ["sh", "-c", "sleep 0.1; echo late"], env: ENV, rank: 2 });
  const seen: unknown[] = [];
  for await (const response of h.stream("rexec.attach", { pid, flags: 3 }, { nodeid: 2 })) seen.push(response["type"] === "output" ? response["io"] : response["type"]);
  expect(seen[0]).toBe("attached");
  expect(seen).toContainEqual({ stream: "stdout", rank: "2", data: "late\n" });
  expect(seen.at(-1)).toBe("finished");
});

test("one client at a time attaches or waits, and to what runs in the background only", async () => {
  const h = cluster.open(0);
  const attach = async (pid: number): Promise<unknown> => h.stream("rexec.attach", { pid, flags: 3 }, { nodeid: 1 }).next();
  const foreground = startSubprocess(h, { argv: ["sleep", "100"], env: ENV, rank: 1 });
  await expect(attach(await foreground.started)).rejects.toMatchObject({ errno: errno.EBUSY, message: "subprocess is not in background mode" });
  foreground.cancel();
  const pid = await startInBackground(h, { argv: ["sleep", "100"], env: ENV, rank: 1, waitable: true });
  await attach(pid);
  await expect(attach(pid)).rejects.toMatchObject({ errno: errno.EBUSY, message: "subprocess already has a client attached" });
  await expect(endOfSubprocess(h, pid, PLACE)).rejects.toMatchObject({ errno: errno.EBUSY, message: "subprocess has a client attached" });
  const other = await startInBackground(h, { argv: ["sleep", "100"], env: ENV, rank: 1, waitable: true });
  const end = endOfSubprocess(h, other, PLACE);
  await expect(attach(other)).rejects.toMatchObject({ errno: errno.EBUSY, message: "subprocess is being waited on" });
  await killSubprocess(h, other, 9, PLACE);
  expect((await end).status).toBe(9);
  await killSubprocess(h, pid, 9, PLACE);
});

test("who waits gets the last output, too", async () => {
  const h = cluster.open(0);
  await startInBackground(h, { argv: ["/bin/sh", "-c", "echo good; echo bad >&2; exit 3"], env: ENV, rank: 1, label: "talk", waitable: true });
  const { status, output } = await endOfSubprocess(h, "talk", PLACE);
  expect(status).toBe(3 << 8);
  expect(output).toHaveLength(2);
  expect(output).toContainEqual({ stream: "stdout", rank: "1", data: "good\n" });
  expect(output).toContainEqual({ stream: "stderr", rank: "1", data: "bad\n" });
});

test("another channel works in both directions", async () => {
  const h = cluster.open(0);
  let got = "";
  const p = startSubprocess(h, { argv: ["sh", "-c", 'read line <&"$CHAN"; echo "got $line" >&"$CHAN"'], env: ENV, rank: 1, channels: ["CHAN"], onChannel: (_name, data) => (got += Buffer.from(data).toString()) });
  await p.started;
  await p.write(Buffer.from("word\n"), "CHAN");
  expect(await p.exited).toBe(0);
  expect(got).toBe("got word\n");
});
