import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Flux } from "../../../src/client/flux.ts";
import { parseEventlog } from "../../../src/formats/eventlog.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { Rset } from "../../../src/formats/rset.ts";
import { errno } from "../../../src/message/errno.ts";
import resource from "../../../src/modules/resource/resource.ts";
import { localR } from "../../../src/modules/resource/discovery.ts";
import { type Cluster, startCluster } from "../../support/cluster.ts";
import { fakeGroups, fakeKvs, member, until } from "./fakes.ts";

let cluster: Cluster | undefined;
afterEach(async () => {
  await cluster?.stop();
  cluster = undefined;
});

const CONFIG = { resource: { noverify: true, config: [{ hosts: "test[0-3]", cores: "0-3", gpus: "0" }, { hosts: "test[2-3]", properties: ["big"] }] } };

async function start(options: { size?: number; config?: JsonObject; values?: Map<string, string>; args?: string[]; online?: string; modules?: [] } = {}) {
  const kvs = fakeKvs(options.values);
  const groups = fakeGroups();
  groups.set("broker.online", options.online ?? "");
  cluster = await startCluster({
    size: options.size ?? 4,
    rank0: [kvs, groups],
    modules: options.modules ?? [[resource, ...(options.args ?? [])]],
    ...(options.config && { config: options.config }),
  });
  return { h: cluster.open(), kvs, groups, cluster };
}

async function known(h: Flux): Promise<void> {
  await until(() => h.rpc("resource.get").then(() => true, () => false), "R is known");
}

test("brokers find their cores and rank 0 makes R of them", async () => {
  const { h, kvs } = await start({ size: 7, online: "0-6" });
  await known(h);
  await until(() => kvs.values.has("resource.R"), "R is stored");
  const R = Rset.parse(kvs.values.get("resource.R"));
  expect(R.ranks.toString()).toBe("0-6");
  expect(R.node(6)?.cores.equals(localR(6, false).node(6)?.cores ?? R.ranks)).toBe(true);
  expect(parseEventlog(kvs.values.get("resource.eventlog") ?? "")).toMatchObject([{ name: "resource-define", context: { method: "dynamic-discovery" } }]);
  const status = await h.rpc("resource.status");
  expect(status).toMatchObject({ online: "0-6", offline: "", exclude: "", torpid: "", drain: {} });
});

test("configured resources, exclusion and status", async () => {
  const { h } = await start({ config: { resource: { ...CONFIG.resource, exclude: "test0" } }, online: "0-2" });
  await until(async () => (await h.rpc("resource.status"))["online"] === "0-2", "three are online");
  expect(await h.rpc("resource.status")).toMatchObject({ offline: "3", exclude: "0" });
  const sched = await h.rpc("resource.sched-status");
  expect(Rset.parse(sched["all"]).ranks.toString()).toBe("1-3");
  expect(member(sched, "all", "execution", "properties")).toEqual({ big: "2-3" });
  expect(member(sched, "down", "execution", "R_lite")).toEqual([{ rank: "3", children: { core: "0-3", gpu: "0" } }]);
  expect(sched["allocated"]).toEqual({ version: 1, execution: { R_lite: [], starttime: 0, expiration: 0, nodelist: [""] } });
});

test("a broken configuration names what is wrong", async () => {
  const broken = (table: JsonObject): Promise<unknown> => startCluster({ modules: [resource], config: { resource: table } });
  await expect(broken({ config: [{ hosts: "a[", cores: "0" }] })).rejects.toThrow("config[0]: invalid hostlist 'a['");
  await expect(broken({ config: [{ hosts: "a" }] })).rejects.toThrow("a assigned no resources");
  await expect(broken({ noverify: "yes" })).rejects.toThrow("noverify must be a boolean");
  await expect(broken({ exlude: "0" })).rejects.toThrow("unknown key exlude");
  await expect(broken({ verify: { core: "maybe" } })).rejects.toThrow("verify.core: unknown verify mode 'maybe'");
  await expect(broken({ path: "/nonexistent/R" })).rejects.toMatchObject({ errno: errno.ENOENT });
});

test("drain and undrain, with the errors that people know", async () => {
  const { h, kvs } = await start({ config: CONFIG, online: "0-3" });
  await known(h);
  await h.rpc("resource.drain", { targets: "1-2", reason: "broken disk" });
  expect((await h.rpc("resource.status"))["drain"]).toMatchObject({ "1-2": { reason: "broken disk" } });
  await expect(h.rpc("resource.drain", { targets: "0-2" })).rejects.toMatchObject({ errno: errno.EEXIST, message: "ranks 1-2 already drained" });
  await expect(h.rpc("resource.drain", { targets: "9" })).rejects.toMatchObject({ errno: errno.EINVAL, message: "idset is out of range" });
  await expect(h.rpc("resource.drain", { targets: "nohost" })).rejects.toMatchObject({ message: "invalid targets: invalid hosts: nohost" });
  await expect(h.rpc("resource.drain", { targets: "bad[" })).rejects.toMatchObject({ message: "invalid targets: Hostlist cannot be decoded" });
  await h.rpc("resource.drain", { targets: "test1", reason: "worse", mode: "overwrite" });
  await h.rpc("resource.drain", { targets: "test1", reason: "ignored", mode: "update" });
  expect(Object.values((await h.rpc("resource.status"))["drain"] ?? {})).toMatchObject([{ reason: "worse" }, { reason: "broken disk" }]);
  await h.rpc("resource.undrain", { targets: "1" });
  await expect(h.rpc("resource.undrain", { targets: "1" })).rejects.toMatchObject({ errno: errno.EEXIST, message: "rank 1 not drained" });
  const events = parseEventlog(kvs.values.get("resource.eventlog") ?? "");
  expect(events[1]).toMatchObject({ name: "drain", context: { idset: "1-2", nodelist: "test[1-2]", reason: "broken disk", overwrite: 0 } });
  expect(events.at(-1)).toMatchObject({ name: "undrain", context: { idset: "1", nodelist: "test1", overwrite: 0 } });
});

test("what was drained stays drained in the next life, by host name", async () => {
  const values = new Map<string, string>();
  const first = await start({ config: CONFIG, values, online: "0-3" });
  await known(first.h);
  await first.h.rpc("resource.drain", { targets: "3", reason: "flaky" });
  await first.cluster.stop();
  expect(values.has("checkpoint.resource")).toBe(true);
  const second = await start({ config: CONFIG, values });
  expect((await second.h.rpc("resource.status"))["drain"]).toMatchObject({ "3": { reason: "flaky" } });
  await second.cluster.stop();
  values.delete("checkpoint.resource"); // as after a crash
  const third = await start({ config: CONFIG, values });
  expect((await third.h.rpc("resource.status"))["drain"]).toMatchObject({ "3": { reason: "flaky" } });
});

test("events that are in the checkpoint and older than the history are forgotten", async () => {
  const values = new Map<string, string>();
  const life = async (history: string): Promise<string[]> => {
    const { h, cluster: instance } = await start({ config: { resource: { ...CONFIG.resource, history } }, values });
    await known(h);
    await until(() => values.has("resource.eventlog"), "R is stored");
    const names = parseEventlog(values.get("resource.eventlog") ?? "").map(({ name }) => name);
    await h.rpc("resource.drain", { targets: "3", mode: "update" });
    await instance.stop();
    return names;
  };
  expect(await life("1h")).toEqual(["resource-define"]);
  expect(await life("1h")).toEqual(["resource-define", "drain", "resource-define"]);
  expect(await life("0")).toEqual(["resource-define"]);
  const { h } = await start({ config: CONFIG, values });
  expect(Object.keys((await h.rpc("resource.status"))["drain"] ?? {})).toEqual(["3"]);
});

test("a scheduler hears what is up, and what goes", async () => {
  const { h, groups } = await start({ online: "0-1" });
  const updates = h.stream("resource.acquire", undefined, { cancelTopic: "resource.acquire-cancel" });
  expect((await updates.next()).value).toMatchObject({ up: "0-1", resources: { version: 1 } });
  await expect(h.stream("resource.acquire").next()).rejects.toMatchObject({ errno: errno.EBUSY });
  groups.set("broker.online", "0-3");
  expect((await updates.next()).value).toEqual({ up: "2-3" });
  await h.rpc("resource.drain", { targets: "2" });
  expect((await updates.next()).value).toEqual({ down: "2" });
  await h.rpc("resource.undrain", { targets: "2" });
  expect((await updates.next()).value).toEqual({ up: "2" });
  groups.set("broker.online", "0-2"); // resources that were discovered do not come back
  expect((await updates.next()).value).toEqual({ down: "3", shrink: "3" });
  await h.rpc("resource.expiration-update", { expiration: 4_000_000_000 });
  expect((await updates.next()).value).toEqual({ expiration: 4_000_000_000 });
  await updates.return();
  await until(async () => {
    const again = h.stream("resource.acquire");
    return again.next().then(() => true, () => false);
  }, "the resources can be acquired again");
});

test("an expiration that comes before all brokers have said what they have is not lost", async () => {
  const { h, cluster } = await start({ size: 2, online: "0-1", modules: [] });
  await cluster.brokers[0]?.host.load(resource);
  await h.rpc("resource.expiration-update", { expiration: 4_000_000_000 });
  await expect(h.rpc("resource.get")).rejects.toMatchObject({ errno: errno.ENOENT });
  await cluster.brokers[1]?.host.load(resource);
  await known(h);
  expect(Rset.parse(JSON.stringify((await h.rpc("resource.get"))["R"])).expiration).toBe(4_000_000_000);
});

test("another rank than 0 says where to ask", async () => {
  const { h } = await start({ size: 2, online: "0-1" });
  await expect(h.rpc("resource.status", undefined, { nodeid: 1 })).rejects.toMatchObject({ errno: errno.EPROTO, message: "this RPC only works on rank 0" });
  await expect(h.rpc("resource.expiration-update", { expiration: 0 }, { nodeid: 1 })).rejects.toMatchObject({ errno: errno.ENOSYS, message: expect.stringContaining("rank 0") as string });
});

test("configured resources that go may come back", async () => {
  const { h, groups } = await start({ config: CONFIG, online: "0-3" });
  const updates = h.stream("resource.acquire", undefined, { cancelTopic: "resource.acquire-cancel" });
  await updates.next();
  groups.set("broker.online", "0-2");
  const { value } = await updates.next();
  expect(value).toEqual(value["up"] === undefined ? { down: "3" } : { up: "0-3" });
});

test("the journal tells the past, then what comes", async () => {
  const { h, groups } = await start({ config: CONFIG, online: "0" });
  await until(async () => (await h.rpc("resource.status"))["online"] === "0", "rank 0 is online");
  const stream = h.stream("resource.journal", {}, { cancelTopic: "resource.journal-cancel" });
  const names: string[] = [];
  for await (const { events } of stream) {
    const batch = events as { name: string }[];
    names.push(...batch.map(({ name }) => name));
    if (batch.length === 0) groups.set("broker.online", "0-2");
    if (names.filter((name) => name === "online").length === 2) break;
  }
  expect(names).toEqual(["restart", "resource-define", "online", "online"]);
});

test("reload takes R of a file, unless a scheduler has the resources", async () => {
  const { h } = await start({ config: CONFIG, online: "0-3" });
  await known(h);
  const directory = mkdtempSync(join(tmpdir(), "resource-"));
  const path = join(directory, "R");
  const R = new Rset();
  R.add(0, { cores: Rset.parse((await h.rpc("resource.get"))["R"]).node(0)?.cores ?? R.ranks, host: "other" });
  writeFileSync(path, R.toString());
  await h.rpc("resource.reload", { path, xml: false, force: false });
  expect(await h.rpc("resource.get")).toMatchObject({ method: "reload", R: { execution: { nodelist: ["other"] } } });
  await expect(h.rpc("resource.reload", { path: join(directory, "no"), xml: false, force: false })).rejects.toMatchObject({ errno: errno.ENOENT });
  await h.stream("resource.acquire").next();
  await expect(h.rpc("resource.reload", { path, xml: false, force: false })).rejects.toMatchObject({ errno: errno.EBUSY });
  rmSync(directory, { recursive: true });
});

test("a broker whose host is not as configured drains itself", async () => {
  const { h } = await start({ config: { resource: { config: [{ hosts: "elsewhere[0-3]", cores: "0-1" }] } }, online: "0-3" });
  await until(async () => Object.keys((await h.rpc("resource.status"))["drain"] ?? {}).length === 4, "all are drained");
  expect(JSON.stringify((await h.rpc("resource.status"))["drain"])).toContain("expected 'elsewhere3'");
});
