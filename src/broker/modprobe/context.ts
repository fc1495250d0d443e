// The context that tasks and setup() of rc files are given: see client/modprobe.ts.
import type { Flux } from "../../client/flux.ts";
import type { ModprobeContext } from "../../client/modprobe.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, isErrno } from "../../message/errno.ts";
import { dict, opt, str, unpack } from "../../message/unpack.ts";

/** What a context's owner does for it. */
export interface ContextActions {
  print(text: string): void;
  loadModules(names: readonly string[]): void;
  removeModules(names: readonly string[] | undefined): Promise<void>;
  setAlternative(service: string, name: string): void;
  enable(name: string): void;
  /** Runs a command line; resolves to its exit code. */
  shell(command: string): Promise<number>;
}

export class Context implements ModprobeContext {
  readonly handle: Flux;
  readonly rank: number;
  readonly #actions: ContextActions;
  readonly #data = new Map<string, unknown>();
  readonly #options = new Map<string, string[]>();
  readonly #overwritten = new Set<string>();
  readonly #brokerEnv = new Map<string, string | undefined>();
  #config: Promise<JsonObject> | undefined;

  constructor(handle: Flux, rank: number, actions: ContextActions) {
    this.handle = handle;
    this.rank = rank;
    this.#actions = actions;
  }

  print(text: string): void {
    this.#actions.print(text);
  }

  set(key: string, value: unknown): void {
    this.#data.set(key, value);
  }

  get(key: string): unknown {
    return this.#data.get(key);
  }

  async attr(name: string): Promise<string | undefined> {
    try {
      return unpack(await this.rpc("attr.get", { name }), { value: str }).value;
    } catch (err) {
      if (isErrno(err, errno.ENOENT)) return undefined;
      throw err;
    }
  }

  async config(key: string): Promise<Json | undefined> {
    this.#config ??= this.rpc("config.get");
    let value: Json | undefined = await this.#config;
    for (const name of key.split(".")) value = isJsonObject(value) ? value[name] : undefined;
    return value;
  }

  async getenv(name: string): Promise<string | undefined> {
    const here = process.env[name];
    if (here !== undefined) return here;
    if (!this.#brokerEnv.has(name)) {
      const answer = await this.rpc("broker.getenv", { names: [name] }).catch((err: unknown) => {
        if (isErrno(err, errno.ENOSYS) || isErrno(err, errno.EPERM)) return { env: {} }; // a broker that doesn't tell
        throw err;
      });
      this.#brokerEnv.set(name, unpack(answer, { env: dict(opt(str)) }).env[name]);
    }
    return this.#brokerEnv.get(name);
  }

  async setenv(variables: Readonly<Record<string, string | undefined>>): Promise<void> {
    const env = Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, value ?? null]));
    await this.rpc("broker.setenv", { env });
    for (const [name, value] of Object.entries(variables)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
      this.#brokerEnv.set(name, value);
    }
  }

  rpc(topic: string, payload?: JsonObject): Promise<JsonObject> {
    return this.handle.rpc(topic, payload);
  }

  setOption(module: string, words: string, overwrite: boolean = false): void {
    if (overwrite) this.#overwritten.add(module);
    this.#options.set(module, [...this.options(module), ...words.split(/\s+/).filter((word) => word !== "")]);
  }

  options(module: string): readonly string[] {
    return this.#options.get(module) ?? [];
  }

  /** The arguments with which a module is loaded. */
  argumentsOf(name: string, own: readonly string[], provides: readonly string[]): string[] {
    return [...(this.#overwritten.has(name) ? [] : own), ...[name, ...provides].flatMap((key) => this.options(key))];
  }

  async shell(command: string): Promise<void> {
    const code = await this.#actions.shell(command);
    if (code !== 0) throw new Error(`bash: exited with exit status ${code}`);
  }

  loadModules(names: readonly string[]): void {
    this.#actions.loadModules(names);
  }

  removeModules(names?: readonly string[]): Promise<void> {
    return this.#actions.removeModules(names);
  }

  setAlternative(service: string, name: string): void {
    this.#actions.setAlternative(service, name);
  }

  enable(name: string): void {
    this.#actions.enable(name);
  }
}
