// Stand-ins for what the resource, scheduler and job listing modules talk to: a KVS in memory, groups that the test sets,
// and a job manager that only passes on.
import { defineModule } from "../../../src/client/module.ts";
import { DEFERRED, type Request } from "../../../src/client/request.ts";
import { isJsonObject, type JsonObject } from "../../../src/formats/json.ts";
import { parseTreeobj, valData, valObject } from "../../../src/formats/treeobj.ts";
import { errno, FluxError } from "../../../src/message/errno.ts";
import { arr, int, obj, str } from "../../../src/message/unpack.ts";

/** A KVS of values only. `values` is what is stored. */
export function fakeKvs(values = new Map<string, string>()): ReturnType<typeof defineModule> & { values: Map<string, string> } {
  const definition = defineModule({
    name: "kvs",
    async start(h) {
      await h.serve("kvs", {
        durable: () => undefined,
        commit(req) {
          for (const op of req.unpack({ ops: arr(obj) }).ops) {
            const value = parseTreeobj(op["dirent"]);
            if (value.type !== "val") throw new FluxError(errno.EINVAL, "values only");
            const key = str(op["key"], "key");
            const text = Buffer.from(valData(value)).toString();
            values.set(key, (int(op["flags"], "flags") & 32) === 0 ? text : (values.get(key) ?? "") + text);
          }
          return { rootref: "sha1-0000000000000000000000000000000000000000", rootseq: values.size };
        },
        lookup(req) {
          const text = values.get(req.unpack({ key: str }).key);
          if (text === undefined) throw new FluxError(errno.ENOENT);
          return { val: valObject(Buffer.from(text)) as object as JsonObject };
        },
      });
    },
  });
  return { ...definition, values };
}

/** Groups whose members the test sets. */
export function fakeGroups(): ReturnType<typeof defineModule> & { set(name: string, members: string): void } {
  const members = new Map<string, string>();
  const watchers = new Map<string, Set<Request>>();
  return {
    ...defineModule({
      name: "groups",
      async start(h) {
        await h.serve("groups", {
          get(req) {
            const { name } = req.unpack({ name: str });
            let set = watchers.get(name);
            if (set === undefined) watchers.set(name, (set = new Set()));
            set.add(req);
            req.respond({ members: members.get(name) ?? "" });
            return DEFERRED;
          },
        });
      },
    }),
    set(name, value) {
      members.set(name, value);
      for (const req of watchers.get(name) ?? []) req.respond({ members: value });
    },
  };
}

/** Resolves when `test` is true, checked each turn of the event loop; rejects after two seconds. */
export async function until(test: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = Date.now() + 2000;
  while (!(await test())) {
    if (Date.now() > end) throw new Error(`timed out waiting until ${what}`);
    const { promise, resolve } = Promise.withResolvers<void>();
    setImmediate(resolve);
    await promise;
  }
}

export function member(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((at, name) => (isJsonObject(at) ? at[name] : undefined), value);
}
