// Module cron: entries run when they should, one at a time, and tell what became of it.
import { afterEach, expect, test } from "bun:test";
import type { Flux } from "../../../src/client/flux.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { errno } from "../../../src/message/errno.ts";
import { arr, bool, fields, int, obj, opt, str, unpack } from "../../../src/message/unpack.ts";
import cron from "../../../src/modules/cron/cron.ts";
import rexec from "../../../src/modules/rexec/rexec.ts";
import { type Cluster, startCluster } from "../../support/cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

const ENTRY = fields({ id: int, stopped: bool, stats: fields({ count: int, success: int, failure: int, deferred: int }), tasks: arr(fields({ state: str, code: opt(int) })), typedata: obj });
type Entry = ReturnType<typeof ENTRY>;

async function start(size: number, ...args: string[]): Promise<Flux> {
  cluster = await startCluster({ size, modules: [rexec], rank0: [[cron, ...args]] });
  return cluster.open();
}

async function create(h: Flux, entry: JsonObject): Promise<number> {
  return unpack(await h.rpc("cron.create", { name: "test", command: "true", args: {}, ...entry }), { id: int }).id;
}

async function entry(h: Flux, id: number): Promise<Entry> {
  const { entries } = unpack(await h.rpc("cron.list"), { entries: arr(ENTRY) });
  return entries.find((other) => other.id === id) as Entry;
}

/** Resolves when the entry is as wanted: nothing tells that but the list. */
async function until(h: Flux, id: number, wanted: (entry: Entry) => boolean): Promise<Entry> {
  for (;;) {
    const now = await entry(h, id);
    if (wanted(now)) return now;
    await Bun.sleep(2);
  }
}

const logged = (text: string): boolean => cluster?.brokers[0]?.log.some((line) => line.includes(text)) ?? false;

test("an interval runs as often as it is to, on the rank that it is to", async () => {
  const h = await start(2);
  const id = await create(h, { type: "interval", args: { interval: 0.001 }, command: "echo here", repeat: 3, rank: 1, "task-history-count": 2 });
  const done = await until(h, id, ({ stats }) => stats.success === 3);
  expect(done).toMatchObject({ stopped: true, stats: { count: 3, failure: 0 }, tasks: [{ state: "Exited" }, { state: "Exited" }] });
  expect(logged('cron-1[test]: rank=1: command="echo here": "here"')).toBe(true);
  // Started again, it counts from 0.
  await h.rpc("cron.start", { id });
  await until(h, id, ({ stats }) => stats.success === 6);
});

test("events: every nth, after the first so many", async () => {
  const h = await start(1);
  const id = await create(h, { type: "event", args: { topic: "tick", nth: 2, after: 3 } });
  for (let i = 0; i < 7; i++) {
    await h.publishSequenced("tick");
    await until(h, id, ({ stats, typedata }) => typedata["counter"] === i + 1 && stats.count === stats.success);
  }
  expect((await entry(h, id)).stats.count).toBe(3); // 3, 5, 7
});

test("failures are counted, and stop an entry", async () => {
  const h = await start(1);
  const failing = await create(h, { type: "interval", args: { interval: 0.001 }, command: "exit 3", "stop-on-failure": 2 });
  expect(await until(h, failing, ({ stopped }) => stopped)).toMatchObject({ stats: { failure: 2 }, tasks: [{ state: "Failed", code: 3 }] });
  expect(logged('"exit 3": Failed: Exit 3')).toBe(true);
  const lost = await create(h, { type: "interval", args: { interval: 0.001 }, rank: 9, "stop-on-failure": 1 });
  expect(await until(h, lost, ({ stopped }) => stopped)).toMatchObject({ tasks: [{ state: "Rexec Failure" }] });
});

test("a timeout ends a command; deleting can end it too", async () => {
  const h = await start(1);
  const slow = await create(h, { type: "interval", args: { interval: 0.001 }, command: "sleep 60", timeout: 0.01, repeat: 1 });
  await until(h, slow, ({ tasks }) => tasks[0]?.state === "Timeout");
  const killed = await create(h, { type: "interval", args: { interval: 0.001 }, command: "sleep 60", repeat: 1 });
  await until(h, killed, ({ tasks }) => tasks[0]?.state === "Running");
  expect(await h.rpc("cron.delete", { id: killed, kill: true })).toMatchObject({ id: killed });
  expect(await entry(h, killed)).toBeUndefined();
});

test("what is triggered waits for the sync event", async () => {
  const h = await start(1, "sync=pulse", "sync_epsilon=0s");
  const id = await create(h, { type: "interval", args: { interval: 0.001 }, repeat: 1 });
  await until(h, id, ({ tasks }) => tasks[0]?.state === "Deferred");
  await h.publishSequenced("pulse");
  expect(await until(h, id, ({ stats }) => stats.success === 1)).toMatchObject({ stats: { deferred: 1 } });
  expect(await h.rpc("cron.sync", { sync_epsilon: 2 })).toEqual({ sync_event: "pulse", sync_epsilon: 2 });
  const waiting = await create(h, { type: "interval", args: { interval: 0.001 }, repeat: 1 });
  expect(await h.rpc("cron.sync", { disable: true })).toEqual({ sync_disabled: true });
  await until(h, waiting, ({ stats }) => stats.success === 1);
});

test("wrong requests", async () => {
  const h = await start(1);
  const refusal = async (request: JsonObject): Promise<unknown> => create(h, request).then(
    () => undefined,
    (err: { errno: number }) => err.errno,
  );
  expect(await refusal({ type: "yearly" })).toBe(errno.ENOSYS);
  expect(await refusal({ type: "interval" })).toBe(errno.EPROTO);
  expect(await refusal({ type: "interval", args: { interval: -1 } })).toBe(errno.EINVAL);
  expect(await refusal({ type: "datetime", args: { minute: "99" } })).toBe(errno.EINVAL);
  await expect(h.rpc("cron.stop", { id: 77 })).rejects.toThrow("there is no cron entry 77");
  const id = await create(h, { type: "datetime", args: { month: 0 } });
  await h.rpc("cron.stop", { id });
  await expect(h.rpc("cron.stop", { id })).rejects.toThrow("stopped already");
});
