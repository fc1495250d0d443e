// The KVS against a model: a Map from keys to values in which a directory is the keys below it.
import { afterAll, expect, test } from "bun:test";
import * as fc from "fast-check";
import { append, kvsCommit, kvsDir, kvsGetText, kvsGetTreeobj, type KvsOp, mkdir, put, unlink } from "../../../src/client/kvs.ts";
import type { Flux } from "../../../src/client/flux.ts";
import { FluxError } from "../../../src/message/errno.ts";
import { newDirectory, removeDirectories, startStore } from "./support.ts";

afterAll(removeDirectories);

/** A directory is a Map, a value a string. */
type Node = Map<string, Node> | string;

class Model {
  root = new Map<string, Node>();

  /** Applies all or nothing; returns whether it did. */
  commit(ops: readonly ModelOp[]): boolean {
    const before = structuredClone(this.root);
    for (const op of ops) {
      if (this.#apply(op)) continue;
      this.root = before;
      return false;
    }
    return true;
  }

  #apply({ kind, key, value }: ModelOp): boolean {
    const names = key.split(".");
    let dir = this.root;
    for (const name of names.slice(0, -1)) {
      let next = dir.get(name);
      if (!(next instanceof Map)) {
        if (kind === "unlink") return true;
        dir.set(name, (next = new Map()));
      }
      dir = next;
    }
    const last = names.at(-1) ?? "";
    const old = dir.get(last);
    if (kind === "unlink") dir.delete(last);
    else if (kind === "mkdir") dir.set(last, new Map());
    else if (kind === "put") dir.set(last, value);
    else if (old instanceof Map) return false;
    else dir.set(last, (old ?? "") + value);
    return true;
  }
}

interface ModelOp {
  kind: "put" | "append" | "unlink" | "mkdir";
  key: string;
  value: string;
}

const name = fc.constantFrom("a", "b", "c", "dd");
const modelOp: fc.Arbitrary<ModelOp> = fc.record({
  kind: fc.constantFrom("put", "put", "append", "append", "unlink", "mkdir"),
  key: fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join(".")),
  value: fc.oneof(fc.string({ maxLength: 10 }), fc.constant("long ".repeat(30))),
});
type Step = { commits: { rank: number; ops: ModelOp[] }[] } | "drop" | "flush" | "restart";
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ commits: fc.array(fc.record({ rank: fc.nat(2), ops: fc.array(modelOp, { maxLength: 5 }) }), { minLength: 1, maxLength: 3 }) }) },
  { weight: 1, arbitrary: fc.constantFrom("drop", "flush", "restart") },
);

function toOp({ kind, key, value }: ModelOp): KvsOp {
  if (kind === "put") return put(key, value);
  if (kind === "append") return append(key, value);
  return kind === "mkdir" ? mkdir(key) : unlink(key);
}

async function check(h: Flux, path: string, node: Map<string, Node>): Promise<void> {
  expect(Object.keys(await kvsDir(h, path))).toEqual([...node.keys()].sort());
  for (const [name, child] of node) {
    const key = path === "." ? name : `${path}.${name}`;
    if (child instanceof Map) await check(h, key, child);
    else expect(await kvsGetText(h, key)).toBe(child);
  }
}

async function run(steps: readonly Step[], size: number): Promise<void> {
  const directory = newDirectory();
  let store = await startStore({ size, directory });
  const model = new Model();
  for (const step of steps) {
    if (step === "restart") {
      await store.stop();
      store = await startStore({ size, directory });
    } else if (step === "flush") {
      await store.open().rpc("content.flush");
    } else if (step === "drop") {
      await store.open().rpc("content.dropcache");
      await store.open().rpc("kvs.dropcache");
    } else {
      // Commits of one handle that are sent together are applied in their order.
      const h = store.open((step.commits[0]?.rank ?? 0) % size);
      const done = await Promise.allSettled(step.commits.map(({ ops }) => kvsCommit(h, ops.map(toOp))));
      const wanted = step.commits.map(({ ops }) => model.commit(ops));
      for (const result of done) if (result.status === "rejected") expect(result.reason).toBeInstanceOf(FluxError);
      expect(done.map(({ status }) => status === "fulfilled")).toEqual(wanted);
      await check(h, ".", model.root);
    }
  }
  await check(store.open(), ".", model.root);
  // The root depends on the content alone, not on the way there.
  const other = await startStore({ memory: true });
  await kvsCommit(other.open(), [...operationsFor(model.root, "")]);
  if (!JSON.stringify(steps).includes('"append"')) {
    expect(await kvsGetTreeobj(store.open(), ".")).toEqual(await kvsGetTreeobj(other.open(), "."));
  }
  await other.stop();
  await store.stop();
}

function* operationsFor(dir: Map<string, Node>, prefix: string): Iterable<KvsOp> {
  for (const [name, child] of dir) {
    if (!(child instanceof Map)) {
      yield put(prefix + name, child);
      continue;
    }
    yield mkdir(prefix + name);
    yield* operationsFor(child, `${prefix}${name}.`);
  }
}

test("one rank does what the model does", async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 15 }), (steps) => run(steps, 1)), { numRuns: 60 });
}, 60_000);

test("three ranks do what the model does", async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 12 }), (steps) => run(steps, 3)), { numRuns: 30 });
}, 60_000);
