// The attributes of one broker (flux-broker-attributes(7)): named texts that say how it was set up.
//
// Every attribute is registered with what may be done to it: `immutable` values never change once set and clients
// cache them, `readonly` ones may not come from the command line, `runtime` ones may be changed by flux-setattr(1).
import { errno, FluxError } from "../message/errno.ts";

export interface Flags {
  readonly immutable?: true;
  readonly readonly?: true;
  readonly runtime?: true;
}

const PLAIN: Flags = {};
const IMMUTABLE: Flags = { immutable: true };
const READONLY: Flags = { readonly: true };
const FACT: Flags = { immutable: true, readonly: true };
const RUNTIME: Flags = { runtime: true };

/** Names ending in "*" stand for everything that begins so. */
export const REGISTERED: Readonly<Record<string, Flags>> = {
  rank: FACT,
  size: FACT,
  version: READONLY,
  rundir: PLAIN,
  "rundir-cleanup": IMMUTABLE,
  statedir: PLAIN,
  "statedir-cleanup": IMMUTABLE,
  "security.owner": FACT,
  "local-uri": IMMUTABLE,
  "parent-uri": FACT,
  "instance-level": FACT,
  jobid: FACT,
  "jobid-path": FACT,
  "parent-kvs-namespace": FACT,
  hostlist: IMMUTABLE,
  hostname: IMMUTABLE,
  "broker.mapping": FACT,
  "broker.critical-ranks": IMMUTABLE,
  "broker.boot-method": IMMUTABLE,
  "broker.pid": FACT,
  "broker.quorum": IMMUTABLE,
  "broker.quorum-warn": IMMUTABLE,
  "broker.shutdown-warn": IMMUTABLE,
  "broker.shutdown-timeout": IMMUTABLE,
  "broker.cleanup-timeout": PLAIN,
  "broker.unload-builtins-timeout": PLAIN,
  "broker.rc1_path": PLAIN,
  "broker.rc3_path": PLAIN,
  "broker.rc2_none": PLAIN,
  "broker.rc2_pgrp": PLAIN,
  "broker.exit-restart": RUNTIME,
  "broker.module-nopanic": RUNTIME,
  "broker.starttime": FACT,
  "broker.sd-notify": PLAIN,
  "broker.sd-stop-timeout": IMMUTABLE,
  "broker.exit-norestart": PLAIN,
  "broker.recovery-mode": PLAIN,
  "broker.uuid": FACT,
  "conf.shell_initrc": RUNTIME,
  "conf.shell_pluginpath": RUNTIME,
  "config.path": IMMUTABLE,
  "tbon.topo": PLAIN,
  "tbon.descendants": READONLY,
  "tbon.level": READONLY,
  "tbon.maxlevel": READONLY,
  "tbon.endpoint": READONLY,
  "tbon.parent-endpoint": READONLY,
  "tbon.zmqdebug": PLAIN,
  "tbon.zmq_io_threads": PLAIN,
  "tbon.child_rcvhwm": PLAIN,
  "tbon.prefertcp": PLAIN,
  "tbon.interface-hint": { immutable: true, runtime: true },
  "tbon.torpid_min": PLAIN,
  "tbon.torpid_max": PLAIN,
  "tbon.tcp_user_timeout": PLAIN,
  "tbon.connect_timeout": PLAIN,
  "tbon.fanout": PLAIN,
  "log-ring-size": IMMUTABLE,
  "log-forward-level": IMMUTABLE,
  "log-critical-level": IMMUTABLE,
  "log-filename": PLAIN,
  "log-syslog-enable": IMMUTABLE,
  "log-syslog-level": IMMUTABLE,
  "log-stderr-mode": IMMUTABLE,
  "log-stderr-level": RUNTIME,
  "log-level": IMMUTABLE,
  "content.backing-module": PLAIN,
  "content.hash": IMMUTABLE,
  "content.dump": RUNTIME,
  "content.restore": RUNTIME,
  "cron.directory": PLAIN,
  "test.*": RUNTIME,
  "test-ro.*": READONLY,
  "test-nr.*": PLAIN,
  "test-im.*": IMMUTABLE,
  "vendor.*": { immutable: true, runtime: true },
};

export interface Attribute {
  readonly value: string;
  readonly immutable: boolean;
}

export class Attributes {
  /** Undefined: the attribute exists without a value. */
  readonly #values = new Map<string, string | undefined>();
  /** Called before flux-setattr(1) changes a value; throws FluxError to refuse it. */
  readonly #watchers = new Map<string, (value: string) => void>();

  get(name: string): string | undefined {
    return this.#values.get(name);
  }

  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The value of an attribute that the broker itself has set. */
  require(name: string): string {
    const value = this.#values.get(name);
    if (value === undefined) throw new FluxError(errno.ENOENT, `broker attribute ${name} is not set`);
    return value;
  }

  /** Sets a value for the broker itself: any attribute, but an immutable one only once. Throws FluxError EPERM, ENOENT. */
  set(name: string, value: string | undefined): void {
    const flags = flagsOf(name);
    if (flags === undefined) throw new FluxError(errno.ENOENT, "unknown attribute");
    if (flags.immutable && this.#values.has(name)) throw new FluxError(errno.EPERM);
    this.#values.set(name, value);
  }

  /** Gives a value to an attribute that has none. Returns its value. */
  setDefault(name: string, value: string): string {
    if (!this.#values.has(name)) this.set(name, value);
    return this.require(name);
  }

  /** From the command line (-S NAME=VALUE). Throws FluxError whose text names what is wrong. */
  setFromCommandLine(name: string, value: string): void {
    const flags = flagsOf(name);
    if (flags === undefined) throw new FluxError(errno.ENOENT, `${name}: unknown attribute`);
    if (flags.readonly) throw new FluxError(errno.EINVAL, `${name}: attribute may not be set on the command line`);
    this.#values.set(name, value);
  }

  /** From flux-setattr(1). Throws FluxError: ENOENT unknown, EINVAL not changeable, EPERM immutable. */
  setAtRuntime(name: string, value: string, force: boolean): void {
    const flags = flagsOf(name);
    if (flags === undefined) throw new FluxError(errno.ENOENT, "unknown attribute");
    if (this.#values.has(name) && !force && !flags.runtime) {
      throw new FluxError(errno.EINVAL, "attribute may not be updated");
    }
    if (!force) this.#watchers.get(name)?.(value);
    this.set(name, value);
  }

  /** For `flux setattr`: `check` sees a new value first and throws FluxError to refuse it. */
  watch(name: string, check: (value: string) => void): void {
    this.#watchers.set(name, check);
  }

  /** Throws FluxError EPERM for an immutable attribute. An absent one is fine. */
  delete(name: string): void {
    if (this.#values.has(name) && flagsOf(name)?.immutable) throw new FluxError(errno.EPERM);
    this.#values.delete(name);
  }

  /** The value as clients see it. Throws FluxError ENOENT. */
  lookup(name: string): Attribute {
    const value = this.#values.get(name);
    if (value === undefined) throw new FluxError(errno.ENOENT);
    return { value, immutable: flagsOf(name)?.immutable === true };
  }

  /** Those that don't change while the broker runs. */
  fixed(): Record<string, string> {
    return Object.fromEntries([...this.#values].flatMap(([name, value]) => (value !== undefined && flagsOf(name)?.immutable === true ? [[name, value]] : [])));
  }

  names(): string[] {
    return [...this.#values.keys()].sort();
  }
}

function flagsOf(name: string): Flags | undefined {
  if (Object.hasOwn(REGISTERED, name)) return REGISTERED[name];
  const dot = name.indexOf(".");
  return dot > 0 ? REGISTERED[`${name.slice(0, dot)}.*`] : undefined;
}
