// The "broker" service: the daemon itself.
//
//   broker.ping, broker.rusage, broker.stats-get
//   broker.getenv { names } → { env }       broker.setenv { env: { NAME: value or null } }      owner
//   broker.conf-builtin { keys } → { values }
import type { Flux } from "../../client/flux.ts";
import { allowUser } from "../../client/service.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { arr, obj, str } from "../../message/unpack.ts";
import { ping } from "../ping.ts";
import { processUsage } from "../rusage.ts";

export async function serveBroker(h: Flux, rank: number, builtin: Readonly<Record<string, string>>): Promise<void> {
  await h.serve("broker", {
    ping: allowUser((req) => ping(req, rank)),
    rusage: allowUser(() => processUsage()),
    "stats-get": allowUser(() => stats()),
    "stats-clear": () => {},
    getenv: (req) => {
      const { names } = req.unpack({ names: arr(str) });
      return { env: Object.fromEntries(names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))) as JsonObject };
    },
    setenv: (req) => setEnvironment(req.unpack({ env: obj }).env),
    "conf-builtin": allowUser((req) => {
      const { keys } = req.unpack({ keys: arr(str) });
      const unknown = keys.find((key) => !Object.hasOwn(builtin, key));
      if (unknown !== undefined) throw new FluxError(errno.EINVAL, `${unknown}: invalid configuration key`);
      return { values: Object.fromEntries(keys.map((key) => [key, builtin[key] as string])) };
    }),
  });
}

function stats(): JsonObject {
  const memory = process.memoryUsage();
  return { rss_bytes: memory.rss, heap_bytes: memory.heapUsed };
}

function setEnvironment(env: JsonObject): void {
  for (const [name, value] of Object.entries(env)) {
    if (name === "" || name.includes("=") || (value !== null && typeof value !== "string")) throw new FluxError(errno.EPROTO, `Protocol error: '${name}' cannot be set in the environment`);
  }
  for (const [name, value] of Object.entries(env)) {
    if (typeof value === "string") process.env[name] = value;
    else delete process.env[name];
  }
}
