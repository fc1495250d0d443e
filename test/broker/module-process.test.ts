// Modules in processes of their own: a loader meets the broker over a real socket.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ModuleHost } from "../../src/broker/module-host.ts";
import type { Flux } from "../../src/client/flux.ts";
import { errno } from "../../src/message/errno.ts";
import { realClock } from "../../src/os/clock.ts";
import { systemRandom } from "../../src/os/random.ts";
import { type Cluster, OWNER, startCluster } from "../support/cluster.ts";

const directory = mkdtempSync(join(tmpdir(), "module-process-"));
const loader = join(directory, "loader");
let cluster: Cluster;
let h: Flux;

beforeAll(async () => {
  writeFileSync(loader, `#!/bin/sh\nexec ${process.execPath} ${join(import.meta.dir, "module-loader.ts")} "$@"\n`, { mode: 0o755 });
  cluster = await startCluster({ size: 1 });
  h = cluster.open();
});

afterAll(async () => {
  await cluster.stop();
  rmSync(directory, { recursive: true });
});

const host = () => cluster.brokers[0]?.host as NonNullable<(typeof cluster.brokers)[0]>["host"];
const load = (name: string, ...args: string[]): Promise<void> => host().loadProcess({ loader, path: "/some/file.x" }, args, name);

test("it is welcomed, answers as a service, and goes when it is told to", async () => {
  await load("probe", "a", "b");
  expect(host().list()).toMatchObject([{ name: "probe", path: "/some/file.x", state: "running" }]);
  expect(await h.rpc("probe.hello")).toMatchObject({ welcome: { name: "probe", args: ["a", "b"], conf: {} } });
  await expect(load("probe")).rejects.toMatchObject({ errno: errno.EEXIST });
  await host().remove("probe");
  expect(host().list()).toEqual([]);
  await expect(h.rpc("probe.hello")).rejects.toMatchObject({ errno: errno.ENOSYS });
});

test("what keeps it from running is the answer to the load", async () => {
  await expect(load("probe", "refuse")).rejects.toMatchObject({ errno: errno.EEXIST });
  await expect(load("probe", "silent")).rejects.toThrow(`loader (${loader}) exited with exit code 0 but did not report module status`);
  await expect(load("probe", "code")).rejects.toThrow(`loader (${loader}) exited with exit code 200`);
  await expect(load("probe", "crash")).rejects.toThrow(`loader (${loader}) killed by Segmentation fault`);
  expect(host().list()).toEqual([]);
});

test("when it dies, who waits for it is told, and its name is free", async () => {
  await load("probe");
  await expect(h.rpc("probe.die")).rejects.toMatchObject({ errno: errno.EHOSTUNREACH });
  await load("probe");
  await host().remove("probe");
});

test("one that does not listen is killed when its removal is forced", async () => {
  await load("probe", "deaf");
  const removal = host().remove("probe");
  await expect(host().remove("probe")).rejects.toMatchObject({ errno: errno.EBUSY });
  await host().remove("probe", { cancel: true });
  await removal;
  expect(host().list()).toEqual([]);
  await load("probe", "deaf");
  await host().remove("probe", { cancel: true });
  await load("probe");
  await host().remove("probe");
});

/** Modules of the same broker that have 100 ms to do as they are told. */
function impatient(log: (text: string) => void = () => undefined): ModuleHost {
  const [broker] = cluster.brokers;
  if (broker === undefined) throw new Error("no broker");
  return new ModuleHost({
    router: broker.router,
    context: () => ({ rank: 0, size: 1, owner: OWNER, clock: realClock, random: systemRandom, config: {} }),
    newId: () => crypto.randomUUID(),
    now_ms: () => Date.now(),
    processes: { env: () => process.env, attrs: () => ({ rank: "0" }), log: (level, text) => level === 2 && log(text), patience_ms: 100 },
  });
}

test("what it has started may outlive it and hold its connection", async () => {
  await load("probe", "holder");
  const { welcome } = (await h.rpc("probe.hello")) as { welcome: { holder: number } };
  try {
    await host().remove("probe");
    expect(host().list()).toEqual([]);
    expect(process.kill(welcome.holder, 0)).toBe(true);
  } finally {
    process.kill(welcome.holder, "SIGKILL");
  }
});

test("one that does not answer keeps nobody from the configuration", async () => {
  const hasty = impatient();
  await hasty.loadProcess({ loader, path: "/some/file.x" }, [], "probe");
  await expect(hasty.reconfigure({})).rejects.toMatchObject({ errno: errno.ETIMEDOUT, message: expect.stringContaining("error updating probe") });
  await hasty.remove("probe");
});

test("one that closes its connection is no service any more, and has to end", async () => {
  const ended = Promise.withResolvers<string>();
  const hasty = impatient(ended.resolve);
  await hasty.loadProcess({ loader, path: "/some/file.x" }, [], "probe");
  const asked = h.rpc("probe.config-reload");
  h.notify("probe.hang-up");
  await expect(asked).rejects.toMatchObject({ errno: errno.EHOSTUNREACH });
  await expect(h.rpc("probe.hello")).rejects.toMatchObject({ errno: errno.ENOSYS });
  expect(hasty.list()).toMatchObject([{ name: "probe", services: [] }]);
  expect(await ended.promise).toContain("killed by Killed");
  expect(hasty.list()).toEqual([]);
});
