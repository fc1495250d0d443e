// Modprobe: what rc files are written against (flux-modprobe(1)). An rc file tells what is to be done when a broker comes
// up (rc1) or goes down (rc3): its tasks, and what its function setup() asks for.
//
//   import { task, type ModprobeContext } from "…/src/client/modprobe.ts";     // types only matter to TypeScript
//
//   export function setup(context) {
//     context.setOption("sched-simple", "queue-policy=easy");
//     context.loadModules(["kvs", "sched"]);
//   }
//
//   export const motd = task("motd", { ranks: "0", after: ["kvs"], needs: ["kvs"] }, async (context) => {
//     await context.shell("flux kvs put motd=hello");
//   });
//
// A task is any exported object with a name and a function run(), so plain JavaScript needs no import. It runs when all that
// it comes after has run, together with others that may run then. What a task throws is printed, and no more tasks start.
import type { Json, JsonObject } from "../formats/json.ts";
import type { Flux } from "./flux.ts";

/** When and where something runs: keys as in flux-modprobe(1). */
export interface TaskConditions {
  /** An idset (RFC 22), ">N", "<N", or "all" (the default). */
  readonly ranks?: string;
  /** Names of services: tasks that need one of them are content with this one. */
  readonly provides?: readonly string[];
  /** What runs too when this runs, in whatever order. */
  readonly requires?: readonly string[];
  /** Without all of these this doesn't run. */
  readonly needs?: readonly string[];
  /** This runs before those, or with "*" before all; when modules are removed, before their removal. */
  readonly before?: readonly string[];
  readonly after?: readonly string[];
  /** Broker attributes, keys of the configuration and environment variables that must be set, or with "!" must not. */
  readonly needsAttrs?: readonly string[];
  readonly needsConfig?: readonly string[];
  readonly needsEnv?: readonly string[];
  readonly disabled?: boolean;
  /** Of several that provide a service the highest is taken; 100 by default. */
  readonly priority?: number;
}

export interface TaskDefinition extends TaskConditions {
  readonly name: string;
  run(context: ModprobeContext): void | Promise<void>;
}

export interface ModprobeContext {
  readonly handle: Flux;
  readonly rank: number;
  /** Prints when modprobe is verbose. */
  print(text: string): void;
  /** What tasks leave for others. */
  set(key: string, value: unknown): void;
  get(key: string): unknown;
  /** Undefined when it isn't set. */
  attr(name: string): Promise<string | undefined>;
  /** A value of the configuration by its dotted key; undefined when it isn't set. */
  config(key: string): Promise<Json | undefined>;
  /** An environment variable of this process, or else of the broker. */
  getenv(name: string): Promise<string | undefined>;
  /** Sets variables here and in the broker, from where rc2 and rc3 get them; undefined unsets. */
  setenv(variables: Readonly<Record<string, string | undefined>>): Promise<void>;
  rpc(topic: string, payload?: JsonObject): Promise<JsonObject>;
  /** Adds words to the arguments of a module; with `overwrite` they stand alone. */
  setOption(module: string, words: string, overwrite?: boolean): void;
  /** The words that were added for a module. */
  options(module: string): readonly string[];
  /** Runs a command line with bash. Throws Error when it fails. */
  shell(command: string): Promise<void>;
  loadModules(names: readonly string[]): void;
  /** Undefined: all that are loaded. */
  removeModules(names?: readonly string[]): Promise<void>;
  /** Takes `name` as the one that provides `service`. */
  setAlternative(service: string, name: string): void;
  /** It runs, whatever rank, attributes and configuration say. */
  enable(name: string): void;
}

export function task(name: string, conditions: TaskConditions, run: (context: ModprobeContext) => void | Promise<void>): TaskDefinition {
  return { ...conditions, name, run };
}
