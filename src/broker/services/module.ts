// The "module" service (RFC 5): loads, lists and ends broker modules (flux-module(1)).
//
//   module.load   { path, name?, args? }     path: a built-in module's name, or a .ts or .js file
//   module.remove { name }                   its name, or the file that it came from
//   module.trace  see trace.ts
//   module.list → { mods: [{ name, path, idle, status, services, sendqueue, recvqueue }] }
import { existsSync } from "node:fs";
import { basename, isAbsolute } from "node:path";
import type { Flux } from "../../client/flux.ts";
import type { ModuleDefinition } from "../../client/module.ts";
import { DEFERRED } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { arr, opt, str } from "../../message/unpack.ts";
import type { ModuleHost, ModuleState } from "../module-host.ts";
import { loadBuiltin } from "../registry.ts";
import type { Tracer } from "../trace.ts";

const STATUS: Readonly<Record<ModuleState, number>> = { loading: 0, running: 1, stopping: 2 };

export async function serveModule(h: Flux, host: ModuleHost, tracer: Tracer, now_ms: () => number): Promise<void> {
  await h.serve("module", {
    load: async (req) => {
      const { path, name, args } = req.unpack({ path: str, name: opt(str), args: opt(arr(str)) });
      const { definition, from } = await findModule(path);
      await host.load(definition, args ?? [], from, name ?? definition.name);
      h.log(7, `insmod ${name ?? definition.name}`);
    },
    remove: async (req) => {
      const { name: given } = req.unpack({ name: str });
      const name = host.list().find(({ path }) => path === given)?.name ?? given;
      await host.remove(name);
      h.log(7, `rmmod ${name}`);
    },
    list: allowUser(() => ({
      mods: host.list().map((module) => ({
        name: module.name,
        path: module.path,
        idle: Math.max(0, Math.floor((now_ms() - module.lastActive_ms) / 1000)),
        status: STATUS[module.state],
        services: [module.name, ...module.services],
        sendqueue: 0,
        recvqueue: 0,
      })),
    })),
    trace: (req) => {
      tracer.add("module", req);
      return DEFERRED;
    },
  });
}

/** A built-in module by name, or the default export of a file. Throws FluxError ENOENT. */
async function findModule(path: string): Promise<{ definition: ModuleDefinition; from: string }> {
  if (!path.includes("/")) {
    const definition = await loadBuiltin(path);
    if (definition === undefined) throw new FluxError(errno.ENOENT, "module not found");
    return { definition, from: path };
  }
  // flux-module(1) passes a full path; a stock name such as /usr/lib/flux/modules/cron.so means ours.
  const builtin = await loadBuiltin(basename(path).replace(/\.(so|py)$/, ""));
  if (builtin !== undefined && !/\.[jt]s$/.test(path)) return { definition: builtin, from: builtin.name };
  if (!isAbsolute(path) || !existsSync(path)) throw new FluxError(errno.ENOENT, "module not found");
  return { definition: await importModule(path), from: path };
}

let version = 0;

/** Imports a user's file anew each time, so that a reload gets what was edited. */
async function importModule(path: string): Promise<ModuleDefinition> {
  let exported: unknown;
  try {
    exported = ((await import(`${path}?v=${++version}`)) as { default?: unknown }).default;
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${path}: ${err instanceof Error ? err.message : String(err)}`, { cause: err });
  }
  if (!isDefinition(exported)) throw new FluxError(errno.EINVAL, `${path}: the default export is not a module (see defineModule)`);
  return exported;
}

function isDefinition(value: unknown): value is ModuleDefinition {
  return typeof value === "object" && value !== null && "name" in value && typeof value.name === "string" && "start" in value && typeof value.start === "function";
}
