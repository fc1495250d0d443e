// What a broker does in each state of its life (see state-machine.ts for the states).
import type { Flux } from "../client/flux.ts";
import { formatDuration, parseDuration } from "../formats/fsd.ts";
import type { JsonObject } from "../formats/json.ts";
import { Hostlist } from "../formats/hostlist.ts";
import { IdSet } from "../formats/idset.ts";
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { int, str, unpack } from "../message/unpack.ts";
import type { Clock, Timer } from "../os/clock.ts";
import type { Attributes } from "./attributes.ts";
import { cleanUpJobs } from "./cleanup.ts";
import type { Log } from "./log.ts";
import type { ModuleHost } from "./module-host.ts";
import { isOnline } from "./overlay/children.ts";
import type { Overlay } from "./overlay/overlay.ts";
import { type Programs, SHUTDOWN_GRACE_MS, SIGNAL_GRACE_MS } from "./programs.ts";
import { Modprobe } from "./modprobe/modprobe.ts";
import type { RcFile } from "./modprobe/rc-file.ts";
import { RC1 } from "./modprobe/rc1.ts";
import { RC3 } from "./modprobe/rc3.ts";
import type { Systemd } from "./systemd.ts";
import { eventOfParent, type State, StateMachine, stateNumber, STATES } from "./state-machine.ts";

export interface LifecycleOptions {
  readonly rank: number;
  readonly size: number;
  readonly attrs: Attributes;
  readonly clock: Clock;
  readonly log: Log;
  readonly h: Flux;
  readonly host: ModuleHost;
  readonly overlay: Overlay;
  readonly systemd: Systemd;
  readonly programs: Programs;
  readonly config: () => JsonObject;
  /** Boots and brings the built-in services up. */
  readonly loadBuiltins: () => Promise<void>;
  /** Connects to the parent; not called on rank 0. */
  readonly join: () => Promise<void>;
  /** Takes over the parent's configuration; not called on rank 0. */
  readonly syncConfig: () => Promise<void>;
  /** Rank 0 says that the instance has ended, just before it does. */
  readonly lastWords: () => void;
  readonly unloadBuiltins: () => Promise<void>;
  /** The state has changed. */
  readonly changed: (state: State) => void;
}

export class Lifecycle {
  readonly machine: StateMachine;
  readonly #options: LifecycleOptions;
  readonly #ended = Promise.withResolvers<number>();
  #exitCode = 0;
  #parentState: State | undefined;
  #expedited = false;
  #shutdownTimers: Timer[] = [];

  constructor(options: LifecycleOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.machine = new StateMachine({
      now_ms: () => clock.monotonic_ms(),
      enter: (state) => this.#enter(state),
      changed: ({ event, from, to, elapsed_ms }) => {
        log.write(6, `${event}: ${from}->${to} ${formatDuration(elapsed_ms / 1000)}`);
        options.changed(to);
      },
      ignored: (event, state) => log.write(7, `${event}: ignored in ${state}`),
      failed: (state, err) => this.#unexpected(state, err),
    });
  }

  /** Runs the broker from its first state to its last; resolves to the exit code. */
  run(): Promise<number> {
    this.machine.start();
    return this.#ended.promise;
  }

  get state(): State {
    return this.machine.state;
  }

  /** The exit code becomes `code` unless it says already that something went wrong. */
  fail(code: number): void {
    if (this.#exitCode === 0) this.#exitCode = code;
  }

  /** A signal, or the end of our starter (`now`): ends what this state is doing, so that the broker goes down in order. */
  kill(now: boolean): void {
    const { programs, log } = this.#options;
    this.#expedited = true;
    const grace_ms = now ? 0 : SIGNAL_GRACE_MS;
    // An instance that never came to run its program has not succeeded.
    if (stateNumber(this.state) < stateNumber("run")) this.fail(1);
    switch (this.state) {
      case "init":
        programs.abort("rc1", grace_ms);
        if (!programs.has("rc1")) this.#post("panic");
        return;
      case "join":
        return this.#post("parent-fail");
      case "config-sync":
        return this.#post("sync-fail");
      case "quorum":
        return this.#post("quorum-fail");
      case "run":
        if (programs.has("rc2")) programs.abort("rc2", grace_ms);
        else this.#post("shutdown");
        return;
      case "cleanup":
        return programs.abort("cleanup", grace_ms);
      case "finalize":
        return programs.abort("rc3", grace_ms);
      case "load-builtins":
        return this.#post("builtins-fail");
      default:
        log.write(6, `ignored signal in ${this.state}`);
    }
  }

  /** `flux shutdown`. Throws FluxError EINVAL when this is not the time or place. */
  shutdown(): void {
    const { rank, programs } = this.#options;
    if (this.state !== "run") throw new FluxError(errno.EINVAL, `shutdown cannot be initiated in state ${this.state}`);
    if (rank !== 0) throw new FluxError(errno.EINVAL, "shutdown may only be initiated on rank 0");
    const norestart = Number(this.#options.attrs.get("broker.exit-norestart") ?? 0);
    if (norestart >= 1) this.#exitCode = norestart;
    if (programs.has("rc2")) programs.abort("rc2", SHUTDOWN_GRACE_MS);
    else this.#post("shutdown");
  }

  /** The parent is gone; with an error it did not say goodbye. */
  parentLost(error: FluxError | undefined): void {
    const at = stateNumber(this.state);
    if (at >= stateNumber("shutdown")) return;
    if (error !== undefined) {
      this.#options.log.write(3, `lost the parent broker: ${error.message}`);
      this.fail(1);
    }
    if (this.state === "quorum") this.#post("quorum-fail");
    else if (this.state === "init") this.#post("panic");
    else this.#post("parent-fail");
  }

  /** A child came or went. */
  childChanged(): void {
    if (this.state === "shutdown" && !this.#options.overlay.hasChildren) this.#post("children-complete");
  }

  #post(event: string): void {
    this.machine.post(event);
  }

  #enter(state: State): void {
    const actions: { readonly [S in State]: () => void | Promise<void> } = {
      "load-builtins": () => this.#loadBuiltins(),
      join: () => this.#join(),
      "config-sync": () => this.#configSync(),
      init: () => this.#init(),
      quorum: () => this.#quorum(),
      run: () => this.#run(),
      cleanup: () => this.#cleanup(),
      shutdown: () => this.#shutdown(),
      finalize: () => this.#finalize(),
      goodbye: () => this.#goodbye(),
      "unload-builtins": () => this.#unloadBuiltins(),
      exit: () => this.#ended.resolve(this.#exitCode),
    };
    try {
      const result = actions[state]();
      this.#options.systemd.entered(state);
      if (result instanceof Promise) result.catch((err: unknown) => this.#unexpected(state, err));
    } catch (err) {
      this.#unexpected(state, err);
    }
  }

  /** An action that threw although it should handle its errors: say so, and go on to the end. */
  #unexpected(state: State, err: unknown): void {
    this.#options.log.write(2, `${state}: ${toFluxError(err).message}`);
    this.#failed();
    const ways: Partial<Record<State, string>> = {
      "load-builtins": "builtins-fail",
      join: "parent-fail",
      "config-sync": "sync-fail",
      init: "rc1-fail",
      quorum: "quorum-fail",
      run: "rc2-fail",
      cleanup: "cleanup-fail",
      shutdown: "children-complete",
      finalize: "rc3-fail",
      goodbye: "goodbye",
      "unload-builtins": "builtins-unload-fail",
    };
    const event = ways[state];
    if (event !== undefined) this.#post(event);
  }

  #failed(code: number = 1): void {
    const norestart = Number(this.#options.attrs.get("broker.exit-norestart") ?? 0);
    this.fail(norestart >= 1 ? norestart : code);
  }

  async #loadBuiltins(): Promise<void> {
    await this.#options.loadBuiltins();
    this.#post("builtins-success");
  }

  async #join(): Promise<void> {
    const { rank, join } = this.#options;
    if (rank === 0) return this.#post("parent-none");
    try {
      await join();
    } catch (err) {
      if (this.state !== "join") return undefined;
      this.#options.log.write(3, `cannot join: ${toFluxError(err).message}`);
      this.#failed();
      return this.#post("parent-fail");
    }
    return void this.#watchParent();
  }

  /** Follows the parent's state up to its shutdown; what it means here depends on our own. */
  async #watchParent(): Promise<void> {
    const { h, rank } = this.#options;
    try {
      const final = stateNumber("shutdown");
      for await (const payload of h.stream("state-machine.monitor", { final }, { upstreamOf: rank })) {
        this.#parentState = STATES[unpack(payload, { state: int }).state];
        this.#checkParent();
      }
    } catch (err) {
      // The link's own end is reported by parentLost().
      this.#options.log.write(7, `state-machine.monitor of the parent: ${toFluxError(err).message}`);
    }
  }

  #checkParent(): void {
    const event = this.#parentState === undefined ? undefined : eventOfParent(this.state, this.#parentState);
    if (event !== undefined) this.#post(event);
  }

  async #configSync(): Promise<void> {
    if (this.#options.rank === 0) return this.#post("sync-none");
    await this.#options.syncConfig();
    this.#post("sync-success");
  }

  async #init(): Promise<void> {
    const { attrs, programs } = this.#options;
    const path = attrs.get("broker.rc1_path") ?? "";
    if (path === "") return this.#post("rc1-none");
    const code = programs.has("rc1") ? await programs.run("rc1") : await this.#runOwn("rc1", path, RC1);
    if (code === 0) return this.#post("rc1-success");
    if (attrs.has("broker.recovery-mode")) return this.#post("rc1-ignorefail");
    this.#failed(code);
    this.#post("rc1-fail");
  }

  /** Does here what `flux modprobe rc1` and rc3 do where a site has nothing to add. Resolves to an exit code. */
  async #runOwn(name: "rc1" | "rc3", title: string, file: RcFile): Promise<number> {
    const { h, rank, attrs, clock, log, programs, systemd } = this.#options;
    const start_ms = clock.monotonic_ms();
    systemd.progress(`Running ${title}`);
    const modprobe = new Modprobe(h, {
      rank,
      keepGoing: name === "rc3" || attrs.has("broker.recovery-mode"),
      shell: (command) => programs.runLine(name, command),
      isCancelled: () => name === "rc1" && this.state !== "init",
      report: (task, error) => {
        log.write(3, `${task.work.kind === "load" ? "insmod " : task.work.kind === "remove" ? "rmmod " : ""}${task.name}: ${error.message}`);
        if (name === "rc3") this.fail(1);
      },
    });
    const code = await this.#modprobe(modprobe, name, file).catch((err: unknown) => {
      log.write(3, `${title}: ${toFluxError(err).message}`);
      return 1;
    });
    log.write(6, `${name}.0: ${title} Exited (rc=${code}) ${((clock.monotonic_ms() - start_ms) / 1000).toFixed(1)}s`);
    return code;
  }

  async #modprobe(modprobe: Modprobe, name: "rc1" | "rc3", file: RcFile): Promise<number> {
    await modprobe.applyConfig();
    if (name === "rc3") await modprobe.removeLater();
    await modprobe.addFile(file);
    modprobe.disable();
    return (await modprobe.run(await modprobe.plan())) ? 0 : 1;
  }

  async #quorum(): Promise<void> {
    const { h, rank } = this.#options;
    await h.rpc("groups.join", { name: "broker.online" });
    if (rank > 0) return this.#checkParent();
    void this.#watchOnline();
  }

  /** Rank 0: counts the brokers that are there, and says which are lost later. */
  async #watchOnline(): Promise<void> {
    const { h, attrs, log, size } = this.#options;
    let online = new IdSet();
    try {
      const needed = quorumSize(attrs.require("broker.quorum"), size);
      const warnTimer = this.#warnOfSlowBrokers(() => online);
      for await (const payload of h.stream("groups.get", { name: "broker.online" })) {
        const before = online;
        online = IdSet.parse(unpack(payload, { members: str }).members);
        if (this.state === "quorum" && online.count >= needed) {
          log.write(6, `online: ${this.#hosts(online)} (ranks ${online.toString()})`);
          this.#options.clock.clear(warnTimer.current);
          this.#post("quorum-full");
        }
        if (this.state === "run" || this.state === "cleanup") this.#reportLoss(before.subtract(online));
      }
    } catch (err) {
      if (stateNumber(this.state) < stateNumber("finalize")) log.write(3, `groups.get: ${toFluxError(err).message}`);
      if (this.state === "quorum") this.#post("quorum-fail");
    }
  }

  #warnOfSlowBrokers(online: () => IdSet): { current: Timer | undefined } {
    const { attrs, clock, log, size } = this.#options;
    const period_s = duration(attrs.require("broker.quorum-warn"));
    const timer: { current: Timer | undefined } = { current: undefined };
    const warn = (): void => {
      if (this.state !== "quorum") return;
      const missing = IdSet.range(0, size - 1).subtract(online());
      log.write(3, `quorum delayed: waiting for ${this.#hosts(missing)} (rank ${missing.toString()})`);
      timer.current = clock.setTimer(period_s * 1000, warn).unref();
    };
    if (period_s > 0) timer.current = clock.setTimer(period_s * 1000, warn).unref();
    return timer;
  }

  #reportLoss(lost: IdSet): void {
    if (lost.isEmpty) return;
    this.#options.log.write(3, `dead to Flux: ${this.#hosts(lost)} (rank ${lost.toString()})`);
  }

  #hosts(ranks: IdSet): string {
    const hosts = Hostlist.parse(this.#options.attrs.get("hostlist") ?? "");
    return ranks.isEmpty ? "" : hosts.slice(ranks).toString();
  }

  async #run(): Promise<void> {
    const { programs, rank } = this.#options;
    if (rank > 0) return this.#checkParent();
    if (!programs.has("rc2")) return;
    const code = await programs.run("rc2");
    this.fail(code);
    this.#post(code === 0 ? "rc2-success" : "rc2-fail");
  }

  async #cleanup(): Promise<void> {
    const { h, programs, rank, attrs, clock } = this.#options;
    if (rank > 0) return this.#post("cleanup-none");
    const limit_s = duration(attrs.get("broker.cleanup-timeout") ?? "none");
    if (this.#expedited && Number.isFinite(limit_s)) clock.setTimer(limit_s * 1000, () => programs.abort("cleanup", SIGNAL_GRACE_MS)).unref();
    const code = await programs.run("cleanup");
    this.fail(code);
    if (process.env["FLUX_DISABLE_JOB_CLEANUP"] === undefined) await cleanUpJobs(h);
    this.#post(code === 0 ? "cleanup-success" : "cleanup-fail");
  }

  #shutdown(): void {
    const { overlay, attrs, clock, rank } = this.#options;
    overlay.closeToChildren("the parent broker is shutting down");
    if (!overlay.hasChildren) return this.#post("children-none");
    const warn_s = duration(attrs.require("broker.shutdown-warn"));
    const limit_s = duration(attrs.require("broker.shutdown-timeout"));
    if (Number.isFinite(warn_s)) this.#shutdownTimers.push(clock.setTimer(warn_s * 1000, () => this.#warnOfSlowChildren()).unref());
    if (rank === 0 && Number.isFinite(limit_s)) {
      this.#shutdownTimers.push(
        clock
          .setTimer(limit_s * 1000, () => {
            this.#options.log.write(3, "shutdown timeout");
            this.#post("children-complete");
          })
          .unref(),
      );
    }
  }

  #warnOfSlowChildren(): void {
    if (this.state !== "shutdown") return;
    const slow = new IdSet();
    for (const child of this.#options.overlay.children) if (isOnline(child)) slow.add(child.rank);
    this.#options.log.write(3, `shutdown delayed: waiting for ${slow.count} peers: ${this.#hosts(slow)} (rank ${slow.toString()})`);
  }

  async #finalize(): Promise<void> {
    const { attrs, clock, programs } = this.#options;
    for (const timer of this.#shutdownTimers) clock.clear(timer);
    const path = attrs.get("broker.rc3_path") ?? "";
    let code = 0;
    if (programs.has("rc3")) code = await programs.run("rc3");
    else if (path !== "") code = await this.#runOwn("rc3", path, RC3);
    await this.#unloadModules();
    this.fail(code);
    this.#post(code === 0 ? (path === "" ? "rc3-none" : "rc3-success") : "rc3-fail");
  }

  /** What rc3 has left, last first. */
  async #unloadModules(): Promise<void> {
    const { host, log } = this.#options;
    for (const module of host.list().reverse()) {
      if (module.early) continue;
      try {
        await host.remove(module.name);
        log.write(7, `rmmod ${module.name}`);
      } catch (err) {
        log.write(3, `rmmod ${module.name}: ${toFluxError(err).message}`);
        this.fail(1);
      }
    }
  }

  #goodbye(): void {
    if (this.#options.rank === 0) this.#options.lastWords();
    else this.#options.overlay.goodbye();
    this.#post("goodbye");
  }

  async #unloadBuiltins(): Promise<void> {
    await this.#options.unloadBuiltins();
    this.#post("builtins-done");
  }
}

/** Seconds; Infinity for "none". Throws FormatError. */
function duration(text: string): number {
  return text === "none" ? Number.POSITIVE_INFINITY : parseDuration(text);
}

/** broker.quorum is a number of brokers; "0-N" is what older releases took. Throws FluxError EINVAL. */
export function quorumSize(text: string, size: number): number {
  if (text === `0-${size - 1}`) return size;
  if (text === "0") return 1;
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > size) throw new FluxError(errno.EINVAL, "Error parsing broker.quorum attribute");
  return count;
}
