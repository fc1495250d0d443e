// Module: a service that runs inside a broker (RFC 5). It is a function of a handle and sees no broker internals.
//
//   export default defineModule({
//     name: "barrier",
//     async start(h, context) {
//       await h.serve("barrier", { enter: allowUser((req) => …) });
//       return { stop() {…}, stats: () => ({…}) };
//     },
//   });
//
// When start() resolves the module is running. An exception in a request's handler answers that request; one in
// start() makes the load fail.
import type { JsonObject } from "../formats/json.ts";
import type { Clock } from "../os/clock.ts";
import type { Random } from "../os/random.ts";
import type { Flux } from "./flux.ts";
import type { Request } from "./request.ts";

/** What a module is given besides its handle: never taken from the process. */
export interface ModuleContext {
  /** Arguments of `flux module load NAME ARGS…`. */
  readonly args: readonly string[];
  readonly rank: number;
  readonly size: number;
  /** User id of the instance owner. */
  readonly owner: number;
  readonly clock: Clock;
  readonly random: Random;
  /** The instance's configuration when the module was loaded (parsed TOML). */
  readonly config: JsonObject;
  /** Flags of `flux module debug` as they are now: their meaning is the module's own. */
  readonly debugFlags: () => number;
}

/** What a running module gives its host; all optional. */
export interface ModuleHooks {
  /** Ends the module's work; its handle is closed afterwards. */
  stop?(): void | Promise<void>;
  /** Answer of "NAME.stats-get". */
  stats?(request: Request): JsonObject | Promise<JsonObject>;
  /** "NAME.stats-clear". */
  clearStats?(): void;
  /** "NAME.config-reload": takes the new configuration or throws FluxError EINVAL saying what is wrong with it. */
  reconfigure?(config: JsonObject): void | Promise<void>;
}

/** What start() returns where a module has nothing to do: it is gone again, and its load has succeeded. */
export const NOTHING_TO_DO = Symbol("nothing to do");

type Started = ModuleHooks | typeof NOTHING_TO_DO | void;

export interface ModuleDefinition {
  readonly name: string;
  start(h: Flux, context: ModuleContext): Promise<Started> | Started;
}

export function defineModule(definition: ModuleDefinition): ModuleDefinition {
  return definition;
}
