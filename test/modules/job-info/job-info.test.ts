import { afterEach, expect, test } from "bun:test";

import type { Flux } from "../../../src/client/flux.ts";
import { append, kvsCommit, kvsGetTreeobj, kvsNamespaceCreate, kvsNamespaceRemove, kvsPut, putTreeobj } from "../../../src/client/kvs.ts";
import type { Stream } from "../../../src/client/stream.ts";
import { jobKvsPath } from "../../../src/formats/fluid.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { errno } from "../../../src/message/errno.ts";
import { str } from "../../../src/message/unpack.ts";
import jobInfo from "../../../src/modules/job-info/job-info.ts";
import { removeDirectories, startStore, type Store } from "../kvs/support.ts";
import { until } from "../resource/fakes.ts";

const ID = 2n ** 58n + 7n;
const SUBMIT = '{"timestamp":1.0,"name":"submit","context":{"userid":1234,"urgency":16,"flags":0,"version":1}}\n';
const line = (name: string, context?: JsonObject) => `${JSON.stringify({ timestamp: 2.5, name, ...(context && { context }) })}\n`;

let store: Store | undefined;
afterEach(async () => {
  await store?.stop();
  store = undefined;
  removeDirectories();
});

async function start(): Promise<Flux> {
  store = await startStore({ memory: true });
  await store.brokers[0]?.host.load(jobInfo);
  return store.open();
}

const log = (h: Flux, ...lines: string[]) => kvsCommit(h, [append(jobKvsPath(ID, "eventlog"), lines.join(""))]);
const watch = (h: Flux, path: string, flags = 0) => h.stream("job-info.eventlog-watch", { id: ID, path, flags }, { cancelTopic: "job-info.eventlog-watch-cancel" });
const stats = (h: Flux) => h.rpc("job-info.stats-get");

async function all(stream: Stream): Promise<string[]> {
  const events: string[] = [];
  for await (const { event } of stream) events.push(str(event, "event"));
  return events;
}

async function next(stream: Stream): Promise<unknown> {
  const { value, done } = await stream.next();
  return done === true ? "end" : value["event"];
}

test("the main eventlog comes line by line and ends when the job is clean; watchers share one watch", async () => {
  const h = await start();
  await log(h, SUBMIT, line("validate"));
  const first = watch(h, "eventlog");
  expect(await next(first)).toBe(SUBMIT);
  expect(await next(first)).toBe(line("validate"));
  const second = watch(h, "eventlog", 2);
  expect(await next(second)).toBe(SUBMIT);
  expect(await next(second)).toBe(line("validate"));
  expect(await next(second)).toBeUndefined(); // the mark after what was there
  expect(await stats(h)).toMatchObject({ watchers: 2 });
  expect(await h.rpc("kvs-watch.stats-get")).toMatchObject({ watchers: 1 });
  await second.return();
  await log(h, line("alloc"), line("clean"), line("late"));
  expect(await all(first)).toEqual([line("alloc"), line("clean")]);
  await until(async () => (await stats(h))["watchers"] === 0 && (await h.rpc("kvs-watch.stats-get"))["watchers"] === 0, "nobody watches");
  expect(await all(watch(h, "eventlog"))).toEqual([SUBMIT, line("validate"), line("alloc"), line("clean")]);
});

test("a job that isn't there: ENOENT, or waiting for it", async () => {
  const h = await start();
  await expect(next(watch(h, "eventlog"))).rejects.toMatchObject({ errno: errno.ENOENT });
  await expect(next(watch(h, "guest.output"))).rejects.toMatchObject({ errno: errno.ENOENT });
  const patient = watch(h, "eventlog", 1);
  const event = next(patient);
  await log(h, SUBMIT);
  expect(await event).toBe(SUBMIT);
  await expect(h.rpc("job-info.lookup", { id: ID + 1n, keys: ["eventlog"], flags: 0 })).rejects.toMatchObject({ errno: errno.ENOENT, message: "invalid job id" });
  await expect(h.rpc("job-info.lookup", { id: ID, keys: ["R"], flags: 0 })).rejects.toMatchObject({ errno: errno.ENOENT, message: "R: key not found" });
  await expect(h.rpc("job-info.lookup", { id: ID, keys: ["R"], flags: 8 })).rejects.toMatchObject({ errno: errno.EPROTO });
  await expect(h.rpc("job-info.eventlog-watch", { id: ID, path: "eventlog", flags: 0 })).rejects.toMatchObject({ errno: errno.EPROTO });
  await patient.return();
});

test("guest eventlogs: waited for, followed in their namespace, and on into the primary one without loss", async () => {
  const h = await start();
  const namespace = `job-${ID}`;
  await log(h, SUBMIT);
  const output = watch(h, "guest.output", 1);
  const early = next(output);
  await kvsNamespaceCreate(h, namespace);
  await log(h, line("start"));
  await kvsCommit(h, [append("output", "one\n")], { namespace });
  expect(await early).toBe("one\n");
  const late = watch(h, "guest.output");
  expect(await next(late)).toBe("one\n");
  await kvsCommit(h, [append("output", "two\nthree\n")], { namespace });
  expect(await next(output)).toBe("two\n");
  expect(await next(output)).toBe("three\n");
  const copy = await kvsGetTreeobj(h, "output", { namespace });
  await kvsCommit(h, [putTreeobj(jobKvsPath(ID, "guest.output"), copy), append(jobKvsPath(ID, "guest.output"), "four\n")]);
  await kvsNamespaceRemove(h, namespace);
  expect(await all(output)).toEqual(["four\n"]);
  expect(await all(late)).toEqual(["two\n", "three\n", "four\n"]);
  await log(h, line("release", { ranks: "all", final: true }), line("clean"));
  expect(await all(watch(h, "guest.output"))).toEqual(["one\n", "two\n", "three\n", "four\n"]);
  await expect(all(watch(h, "guest.nothing"))).rejects.toMatchObject({ errno: errno.ENOENT });
  await until(async () => (await stats(h))["guest_watchers"] === 0, "nobody watches");
});

test("a key of a job that runs is not found where it or the namespace is not there; any other reason is said", async () => {
  const h = await start();
  await log(h, SUBMIT, line("start"));
  const lookup = (key: string): Promise<JsonObject> => h.rpc("job-info.lookup", { id: ID, keys: [key], flags: 0 });
  const notFound = { errno: errno.ENOENT, message: "guest.output: key not found" };
  await expect(lookup("guest.output")).rejects.toMatchObject(notFound);
  const namespace = `job-${ID}`;
  await kvsNamespaceCreate(h, namespace);
  await expect(lookup("guest.output")).rejects.toMatchObject(notFound);
  await kvsPut(h, "output.part", "one", { namespace });
  expect(await lookup("guest.output.part")).toMatchObject({ "guest.output.part": "one" });
  await expect(lookup("guest.output")).rejects.toMatchObject({ errno: errno.EISDIR, message: "guest.output: Is a directory" });
});

test("a job that never started has no guest eventlog", async () => {
  const h = await start();
  await log(h, SUBMIT);
  const output = watch(h, "guest.output");
  const end = all(output);
  await log(h, line("exception", { type: "cancel", severity: 0, note: "" }), line("clean"));
  expect(await end).toEqual([]);
});

test("R and jobspec, as text or objects, with updates applied and as they change", async () => {
  const h = await start();
  const R = { version: 1, execution: { R_lite: [], expiration: 5 } };
  await kvsPut(h, jobKvsPath(ID, "R"), JSON.stringify(R));
  await kvsPut(h, jobKvsPath(ID, "jobspec"), '{"attributes":{"system":{"duration":1}}}');
  await log(h, SUBMIT, line("jobspec-update", { "attributes.system.duration": 9 }));
  expect(await h.rpc("job-info.lookup", { id: ID, keys: ["R", "jobspec"], flags: 0 })).toEqual({ id: ID, R: JSON.stringify(R), jobspec: '{"attributes":{"system":{"duration":1}}}' });
  expect(await h.rpc("job-info.lookup", { id: ID, keys: ["R", "jobspec"], flags: 3 })).toEqual({ id: ID, R, jobspec: { attributes: { system: { duration: 9 } } } });
  const updates = h.stream("job-info.update-watch", { id: ID, key: "R", flags: 0 });
  expect((await updates.next()).value).toEqual({ R });
  await log(h, line("resource-update", { expiration: 77 }));
  expect((await updates.next()).value).toMatchObject({ R: { execution: { expiration: 77 } } });
  expect(await h.rpc("job-info.update-lookup", { id: ID, key: "R", flags: 0 })).toMatchObject({ R: { execution: { expiration: 77 } } });
  await log(h, line("clean"));
  expect((await updates.next()).done).toBe(true);
});

test("20 MB of output come whole while they are written", async () => {
  const h = await start();
  const namespace = `job-${ID}`;
  const chunk = `${JSON.stringify({ timestamp: 1.5, name: "data", context: { stream: "stdout", rank: "0", data: "x".repeat(60_000) } })}\n`;
  const lines = 350;
  await log(h, SUBMIT, line("start"));
  await kvsNamespaceCreate(h, namespace);
  await kvsPut(h, "output", "header\n", { namespace });
  const output = watch(h, "guest.output");
  expect(await next(output)).toBe("header\n");
  const writing = (async () => {
    for (let i = 0; i < lines; i += 10) await kvsCommit(h, [append("output", chunk.repeat(10))], { namespace });
  })();
  const events: string[] = [];
  for (let bytes = 0; bytes < lines * chunk.length; bytes += events.at(-1)?.length ?? 0) events.push(str(await next(output), "event"));
  await writing;
  expect(events.join("") === chunk.repeat(lines)).toBe(true);
  await output.return();
});

test("lookups of what a running job keeps in its own namespace, as later in the primary one", async () => {
  const h = await start();
  await log(h, SUBMIT);
  const lookup = (key: string) => h.rpc("job-info.lookup", { id: ID, keys: [key], flags: 0 });
  await expect(lookup("guest.exec.eventlog")).rejects.toMatchObject({ errno: errno.ENOENT });
  await kvsNamespaceCreate(h, `job-${ID}`);
  await kvsCommit(h, [append("exec.eventlog", line("init"))], { namespace: `job-${ID}` });
  expect(await lookup("guest.exec.eventlog")).toMatchObject({ "guest.exec.eventlog": line("init") });
  await kvsNamespaceRemove(h, `job-${ID}`);
  await kvsPut(h, jobKvsPath(ID, "guest.exec.eventlog"), line("init"));
  expect(await lookup("guest.exec.eventlog")).toMatchObject({ "guest.exec.eventlog": line("init") });
});
