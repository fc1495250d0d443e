// The "module" service (RFC 5): loads, lists and ends broker modules (flux-module(1)).
//
//   module.load   { path, name?, args?, loader? }   path: a built-in module's name, a .ts or .js file, or one that a loader runs
//   module.remove { name, cancel? }          its name, or the file that it came from; cancel: it is not asked to end
//   module.trace  see trace.ts
//   module.list → { mods: [{ name, path, idle, status, services, sendqueue, recvqueue }] }
import { existsSync } from "node:fs";
import { basename, delimiter, isAbsolute, join } from "node:path";
import type { Flux } from "../../client/flux.ts";
import type { ModuleDefinition } from "../../client/module.ts";
import { DEFERRED } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { arr, bool, def, opt, str } from "../../message/unpack.ts";
import type { LoaderProgram, ModuleHost, ModuleState } from "../module-host.ts";
import { loadBuiltin } from "../registry.ts";
import type { Tracer } from "../trace.ts";

const SCRIPT = /\.[cm]?[jt]s$/;
/** Files that aren't ours to import: `flux LOADER PATH` runs them (RFC 5). Libraries need the loader of flux-core. */
const LOADERS = [
  { suffix: /\.so(\.[\d.]+)?$/, loader: "module-exec" },
  { suffix: /\.py$/, loader: "module-python-exec" },
] as const;
/** What FLUX_MODULE_PATH is searched for, in this order. */
const SUFFIXES = [".ts", ".js", ".so", ".py"];

const STATUS: Readonly<Record<ModuleState, number>> = { loading: 0, running: 1, stopping: 2 };

export async function serveModule(h: Flux, host: ModuleHost, tracer: Tracer, now_ms: () => number): Promise<void> {
  await h.serve("module", {
    load: async (req) => {
      const { path, name: given, args = [], loader } = req.unpack({ path: str, name: opt(str), args: opt(arr(str)), loader: opt(str) });
      const found = await findModule(path, loader);
      const name = given ?? found.name;
      if ("definition" in found) await host.load(found.definition, args, found.path, name);
      else await host.loadProcess(found, args, name);
      h.log(7, `insmod ${name}`);
    },
    remove: async (req) => {
      const { name: given, cancel } = req.unpack({ name: str, cancel: def(bool, false) });
      const name = host.list().find(({ path }) => path === given)?.name ?? given;
      await host.remove(name, { cancel });
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

type Found = { readonly name: string; readonly path: string; readonly definition: ModuleDefinition } | ({ readonly name: string } & LoaderProgram);

/** A built-in module by name, the default export of a file, or a file for a loader. Throws FluxError ENOENT, EINVAL. */
async function findModule(path: string, loader: string | undefined): Promise<Found> {
  if (!path.includes("/")) {
    if (loader !== undefined) throw new FluxError(errno.EINVAL, "module loader may only be specified with module path");
    const definition = await loadBuiltin(path);
    if (definition !== undefined) return { name: path, path, definition };
    const file = inSearchPath(path);
    if (file === undefined) throw new FluxError(errno.ENOENT, "module not found in search path");
    return findFile(file, undefined);
  }
  // flux-module(1) passes a full path; a stock name such as /usr/lib/flux/modules/cron.so means ours.
  const name = basename(path).replace(/\..*$/, "");
  const builtin = loader === undefined && !SCRIPT.test(path) ? await loadBuiltin(name) : undefined;
  if (builtin !== undefined) return { name, path: name, definition: builtin };
  if (!isAbsolute(path) || !existsSync(path)) throw new FluxError(errno.ENOENT, "module not found");
  return findFile(path, loader);
}

async function findFile(path: string, given: string | undefined): Promise<Found> {
  const loader = given ?? LOADERS.find(({ suffix }) => suffix.test(path))?.loader;
  if (loader !== undefined) return { name: basename(path).replace(/\..*$/, ""), path, loader };
  const definition = await importModule(path);
  return { name: definition.name, path, definition };
}

/** A file of that name in a directory of FLUX_MODULE_PATH. */
function inSearchPath(name: string): string | undefined {
  const directories = (process.env["FLUX_MODULE_PATH"] ?? "").split(delimiter).filter((directory) => isAbsolute(directory));
  return directories.flatMap((directory) => SUFFIXES.map((suffix) => join(directory, name + suffix))).find((path) => existsSync(path));
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
