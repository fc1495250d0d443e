// ModuleHost: loads, lists and ends the modules of one broker (RFC 5), each with a handle of its own, and gives every
// module the methods that all of them have: ping, stats-get, stats-clear, rusage, debug, config-reload, shutdown.
import { type ModuleContext, type ModuleDefinition, type ModuleHooks, NOTHING_TO_DO } from "../client/module.ts";
import { allowUser, type Methods } from "../client/service.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { int, str } from "../message/unpack.ts";
import { copyTraffic, noTraffic, openInternal, type Traffic } from "./endpoints.ts";
import type { Clock } from "../os/clock.ts";
import { ModuleProcess } from "./module-process.ts";
import { ping } from "./ping.ts";
import { processUsage } from "./rusage.ts";
import type { Router } from "./router.ts";

/** What a module's process is told has to be done so soon. One that has not ended is killed then. */
const PATIENCE_MS = 10_000;

export type ModuleState = "loading" | "running" | "stopping";

export interface LoadedModule {
  readonly name: string;
  /** Where it came from: its name among those that come with the broker, a file, or "builtin" for what belongs to the broker. */
  readonly path: string;
  readonly id: string;
  readonly args: readonly string[];
  readonly loaded_ms: number;
  readonly state: ModuleState;
  readonly services: readonly string[];
  /** When it last received a message. */
  readonly lastActive_ms: number;
  /** Loaded with the broker's own services: it goes after all others. */
  readonly early: boolean;
}

interface Entry {
  path: string;
  args: readonly string[];
  id: string;
  /** Ends its handle or process; resolves when the router knows it no more. */
  readonly close: () => Promise<unknown>;
  readonly isProcess: boolean;
  readonly lastActive_ms: () => number;
  /** Flags of "flux module debug": what they mean is the module's own. */
  debugFlags: number;
  hooks: ModuleHooks;
  state: ModuleState;
  loaded_ms: number;
  early: boolean;
}

export interface ModuleHostOptions {
  readonly router: Router;
  /** Everything of a module's context but its arguments; config is asked for at each load. */
  readonly context: () => Omit<ModuleContext, "args" | "debugFlags">;
  readonly newId: () => string;
  readonly now_ms: () => number;
  /** For modules in processes of their own. */
  readonly processes?: ProcessSettings;
}

export interface ProcessSettings {
  readonly env: () => Readonly<Record<string, string | undefined>>;
  /** Attributes that don't change. */
  readonly attrs: () => Readonly<Record<string, string>>;
  readonly log: (level: 2 | 7, text: string) => void;
  /** How long one may take to end or to take a configuration; default 10 s. */
  readonly patience_ms?: number;
}

/** A file, and the `flux` command that runs it as a module. */
export interface LoaderProgram {
  readonly loader: string;
  readonly path: string;
}

export class ModuleHost {
  readonly #options: ModuleHostOptions;
  readonly #modules = new Map<string, Entry>();

  constructor(options: ModuleHostOptions) {
    this.#options = options;
  }

  /**
   * Starts a module; resolves when it is running. Throws FluxError EEXIST when one of that name is loaded, or what
   * its start() threw, and then nothing of it is left.
   */
  async load(definition: ModuleDefinition, args: readonly string[] = [], path: string = "builtin", name: string = definition.name, early: boolean = false): Promise<void> {
    if (this.#modules.has(name)) throw new FluxError(errno.EEXIST, `module ${name} is already loaded`);
    const given = this.#options.context();
    const { handle, id, traffic, gone } = openInternal(this.#options.router, given.owner, { name, ownService: name }, this.#options.newId);
    const close = async (): Promise<void> => {
      handle.close();
      await gone;
    };
    const entry: Entry = { path, args, id, close, isProcess: false, lastActive_ms: () => handle.lastReceived_ms, debugFlags: 0, hooks: {}, state: "loading", loaded_ms: this.#options.now_ms(), early };
    const context = { ...given, args, debugFlags: () => entry.debugFlags };
    this.#modules.set(name, entry);
    handle.setCommonMethods(this.#commonMethods(name, entry, traffic));
    try {
      const started = (await definition.start(handle, context)) ?? {};
      if (started === NOTHING_TO_DO) return await this.#forget(name, entry);
      entry.hooks = started;
      entry.state = "running";
      if (!handle.serves(name)) await handle.serve(name, {});
    } catch (err) {
      await this.#forget(name, entry);
      throw toFluxError(err);
    }
  }

  /** Starts a module in a process of its own; resolves when it is running. Throws FluxError EEXIST, or why it doesn't run. */
  async loadProcess(program: LoaderProgram, args: readonly string[], name: string): Promise<void> {
    if (this.#modules.has(name)) throw new FluxError(errno.EEXIST, `module ${name} is already loaded`);
    const { router, processes, newId, now_ms } = this.#options;
    if (processes === undefined) throw new FluxError(errno.ENOSYS, "modules in processes of their own are not supported here");
    const { owner, config, clock } = this.#options.context();
    const patience_ms = processes.patience_ms ?? PATIENCE_MS;
    const module = new ModuleProcess({ router, owner, id: newId(), ...program, name, args, config, attrs: processes.attrs(), env: processes.env(), now_ms, clock, patience_ms });
    processes.log(7, `${program.loader} ${name} pid=${module.pid}`);
    const close = async (): Promise<void> => {
      module.kill("SIGKILL");
      await module.gone;
    };
    const entry: Entry = { path: program.path, args, id: module.id, close, isProcess: true, lastActive_ms: () => module.lastReceived_ms, debugFlags: 0, hooks: this.#processHooks(module, name, owner, clock, patience_ms), state: "loading", loaded_ms: now_ms(), early: false };
    this.#modules.set(name, entry);
    void module.gone.then((failure) => {
      if (this.#modules.get(name) === entry) this.#modules.delete(name);
      if (entry.state === "running") processes.log(2, `${name}: module runtime failure${failure === undefined ? "" : `: ${failure.message}`}`);
    });
    await module.running;
    entry.state = "running";
  }

  /** What we ask of it in the broker's name; of it, and not of the module of that name above when its service has ended. */
  #processHooks(module: ModuleProcess, name: string, owner: number, clock: Clock, patience_ms: number): ModuleHooks {
    const nodeid = this.#options.router.rank;
    const { handle } = openInternal(this.#options.router, owner, { name: "broker" }, this.#options.newId);
    void module.gone.then(() => handle.close());
    return {
      async stop() {
        const timer = clock.setTimer(patience_ms, () => module.kill("SIGKILL"));
        handle.notify(`${name}.shutdown`, undefined, { nodeid });
        await module.gone;
        clock.clear(timer);
      },
      async reconfigure(config) {
        await handle.rpc(`${name}.config-reload`, config, { nodeid, timeout_ms: patience_ms });
      },
    };
  }

  /**
   * Ends a module; resolves when it is gone. With `cancel`, its process is not asked but killed, and one in ours that is being
   * removed already is waited for no longer. Throws FluxError ENOENT, EBUSY.
   */
  async remove(name: string, { cancel = false } = {}): Promise<void> {
    const entry = this.#modules.get(name);
    if (entry === undefined) throw new FluxError(errno.ENOENT, `module ${name} is not loaded`);
    if (cancel && (entry.isProcess || entry.state === "stopping")) {
      entry.state = "stopping";
      return this.#forget(name, entry);
    }
    if (entry.state === "stopping") throw new FluxError(errno.EBUSY, `module ${name} is being removed already`);
    entry.state = "stopping";
    try {
      await entry.hooks.stop?.();
    } finally {
      await this.#forget(name, entry);
    }
  }

  async #forget(name: string, entry: Entry): Promise<void> {
    await entry.close();
    // When its removal was forced meanwhile, another may have the name.
    if (this.#modules.get(name) === entry) this.#modules.delete(name);
  }

  has(name: string): boolean {
    return this.#modules.has(name);
  }

  list(): LoadedModule[] {
    return [...this.#modules].map(([name, entry]) => ({
      name,
      path: entry.path,
      id: entry.id,
      args: entry.args,
      loaded_ms: entry.loaded_ms,
      state: entry.state,
      services: this.#options.router.servicesOf(entry.id).filter((service) => service !== name),
      lastActive_ms: entry.lastActive_ms(),
      early: entry.early,
    }));
  }

  /** Hands a new configuration to every module. Throws the first refusal, after all have answered. */
  async reconfigure(config: JsonObject): Promise<void> {
    const answers = [...this.#modules].map(async ([name, entry]): Promise<FluxError | undefined> => {
      try {
        await entry.hooks.reconfigure?.(config);
        return undefined;
      } catch (err) {
        const error = toFluxError(err);
        return new FluxError(error.errno, `error updating ${name}: ${error.message}`);
      }
    });
    const refusal = (await Promise.all(answers)).find((answer) => answer !== undefined);
    if (refusal !== undefined) throw refusal;
  }

  #commonMethods(name: string, entry: Entry, traffic: Traffic): Methods {
    return {
      ping: allowUser((req) => ping(req, this.#options.router.rank)),
      "stats-get": allowUser(async (req) => (await entry.hooks.stats?.(req)) ?? copyTraffic(traffic)),
      "stats-clear": () => {
        if (entry.hooks.clearStats !== undefined) return entry.hooks.clearStats();
        const { tx, rx } = noTraffic();
        Object.assign(traffic.tx, tx);
        Object.assign(traffic.rx, rx);
      },
      rusage: allowUser(() => processUsage()),
      debug(req) {
        const { op, flags } = req.unpack({ op: str, flags: int });
        entry.debugFlags = changeFlags(entry.debugFlags, op, flags);
        return { flags: entry.debugFlags };
      },
      "config-reload": async (req) => {
        await entry.hooks.reconfigure?.(req.payload);
      },
      shutdown: async () => {
        await this.remove(name);
      },
    };
  }
}

/** The operations of "flux module debug". Throws FluxError EPROTO. */
function changeFlags(before: number, op: string, flags: number): number {
  if (op === "setbit") return before | flags;
  if (op === "clrbit") return before & ~flags;
  if (op === "set") return flags;
  if (op === "clr") return 0;
  throw new FluxError(errno.EPROTO, `'${op}' is not an operation on debug flags`);
}
