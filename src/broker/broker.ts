// The composition root of the broker: makes its parts, wires them, and runs them to the end.
//
//   attributes → boot → directories → router, overlay, services, local socket → modules (rc1) → initial program → the way back
//
// Parts that come and go while it runs are made elsewhere: modules in module-host.ts, what rc1 and rc3 need in lifecycle.ts.
import { randomUUID } from "node:crypto";
import type { Flux } from "../client/flux.ts";
import { Hostlist } from "../formats/hostlist.ts";
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { str, unpack } from "../message/unpack.ts";
import { realClock } from "../os/clock.ts";
import { getuid, setProcessName } from "../os/credentials.ts";
import { hostname as systemHostname } from "../os/hostname.ts";
import { launchNofile } from "../os/limits.ts";
import { systemRandom } from "../os/random.ts";
import { SOCKET_PATH_MAX_BYTES } from "../os/socket-path.ts";
import { writeStderr } from "../os/stderr.ts";
import { openDatagramSender } from "../os/datagram.ts";
import { openSyslog } from "../os/syslog.ts";
import { removeDirectory } from "../os/tmpdir.ts";
import { parseDuration } from "../formats/fsd.ts";
import { setReceiverErrorHandler } from "../transport/memory.ts";
import { encodeZ85, generateKeypair, type Keypair } from "../transport/zmtp/mod.ts";
import { FLUX_VERSION } from "../version.ts";
import { Attributes } from "./attributes.ts";
import { type Boot, openBoot } from "./boot/boot.ts";
import { applyConfValue, readConfig } from "./config.ts";
import { BUILTIN_CONFIG } from "./builtin-config.ts";
import { accessRules, currentAccess } from "./access.ts";
import { listenLocal, type LocalConnector } from "./connector-local.ts";
import { openInternal } from "./endpoints.ts";
import { type Enclosing, programEnvironment, takeEnclosing } from "./environment.ts";
import { Lifecycle, quorumSize } from "./lifecycle.ts";
import { watchLifeline } from "./lifeline.ts";
import { Log } from "./log.ts";
import { hasSiteFiles } from "./modprobe/search-path.ts";
import { ModuleHost } from "./module-host.ts";
import type { BrokerOptions } from "./options.ts";
import type { Card } from "./overlay/card.ts";
import { Overlay } from "./overlay/overlay.ts";
import { childrenOf, parentOf, parseTopology, type Topology } from "./overlay/topology.ts";
import { tellParent } from "./parent.ts";
import { initialProgram, Programs, shellCommand } from "./programs.ts";
import { EARLY_MODULES, loadBuiltin, usualModules } from "./registry.ts";
import { Router } from "./router.ts";
import { linkProgram, setupDirectory } from "./rundir.ts";
import { serveAttr } from "./services/attr.ts";
import { serveBroker } from "./services/broker.ts";
import { type ConfigStore, serveConfig } from "./services/config.ts";
import { serveEvent } from "./services/event.ts";
import { serveLog } from "./services/log.ts";
import { serveModule } from "./services/module.ts";
import { type OverlayService, serveOverlay } from "./services/overlay.ts";
import { serveRunat, serveShutdown, type ShutdownService } from "./services/runat.ts";
import { serveService } from "./services/service.ts";
import { serveStateMachine, type StateMachineService } from "./services/state-machine.ts";
import { stateNumber } from "./state-machine.ts";
import { Systemd } from "./systemd.ts";
import { applyTorpidConfig, torpidSettings } from "./torpid.ts";
import { Tracer } from "./trace.ts";
import { RC1_DEFAULT, RC3_DEFAULT, setupAttributes, setupTree } from "./setup-attributes.ts";

/** Attributes that later states read as durations: a wrong one is said before anything is up. */
const DURATIONS = ["broker.quorum-warn", "broker.shutdown-warn", "broker.shutdown-timeout", "broker.cleanup-timeout", "broker.sd-stop-timeout"] as const;

/** When the starter is gone, everything must be over within this. */
const ORPHAN_GRACE_MS = 10_000;
/** After the last state, how long sockets may take to send what they have. */
const LINGER_MS = 1000;
/** How long to look whether the starter has gone, when something has gone wrong. */
const LIFELINE_CHECK_MS = 10;

/** Runs a broker to its end; resolves to its exit code. Errors before it is up are printed in one line, with exit code 1. */
export async function runBroker(options: BrokerOptions): Promise<number> {
  const enclosing = takeEnclosing();
  const starter = { isLost: false, onLost: (): void => process.exit(1) };
  const releaseLifeline = watchLifeline(enclosing.lifelineFd, () => {
    starter.isLost = true;
    starter.onLost();
  });
  // What the starter made and can't remove any more, however we end.
  process.on("exit", () => {
    if (starter.isLost && enclosing.starterRundir !== undefined) removeDirectory(enclosing.starterRundir);
  });
  let code = 1;
  try {
    code = await startBroker(options, enclosing, (onLost) => {
      starter.onLost = onLost;
    });
  } catch (err) {
    writeStderr(`flux-broker: ${toFluxError(err).message}\n`);
  }
  // Whether the launcher's end of PMI or the lifeline is seen first is a matter of chance.
  if (!starter.isLost && code !== 0) await realClock.sleep(LIFELINE_CHECK_MS);
  releaseLifeline();
  // What is still to be sent gets its time; what hangs (a connection that is never answered) does not.
  setTimeout(() => process.exit(code), LINGER_MS).unref();
  return code;
}

async function startBroker(options: BrokerOptions, enclosing: Enclosing, onStarterLost: (fn: () => void) => void): Promise<number> {
  launchNofile(); // while our parent is still there to ask
  const attrs = new Attributes();
  for (const [name, value] of options.attrs) attrs.setFromCommandLine(name, value);
  const config = await initialConfig(options, attrs);
  const hostname = attrs.get("hostname") ?? systemHostname();
  const boot = await openBoot({ method: attrs.get("broker.boot-method"), env: process.env, config, hostname });
  setProcessName(`flux-broker-${boot.rank}`);
  const broker = new Broker(options, attrs, boot, enclosing, config, hostname);
  try {
    onStarterLost(() => broker.starterLost());
    return await broker.run();
  } finally {
    broker.removeDirectories();
  }
}

async function initialConfig(options: BrokerOptions, attrs: Attributes): Promise<JsonObject> {
  const path = options.configPath ?? process.env["FLUX_CONF_DIR"];
  let config: JsonObject = {};
  try {
    if (path !== undefined && path !== "") {
      config = await readConfig(path);
      attrs.set("config.path", path);
    }
    for (const value of options.conf) config = await applyConfValue(config, value);
    // With rules that can't be read nobody could connect, not even to mend them.
    accessRules(config);
  } catch (err) {
    throw new FluxError(toFluxError(err).errno, `Config file error: ${toFluxError(err).message}`);
  }
  return config;
}

class Broker {
  readonly #options: BrokerOptions;
  readonly #attrs: Attributes;
  readonly #boot: Boot;
  readonly #config: JsonObject;
  readonly #uuid = randomUUID();
  readonly #owner = getuid();
  readonly #hostname: string;
  readonly #topology: Topology;
  readonly #keypair: Keypair;
  readonly #log: Log;
  readonly #router: Router;
  readonly #overlay: Overlay;
  readonly #h: Flux;
  readonly #host: ModuleHost;
  readonly #programs: Programs;
  readonly #systemd: Systemd;
  readonly #lifecycle: Lifecycle;
  readonly #cleanups: (() => void)[] = [];
  #hosts: readonly string[] = [];
  #hasJoined = false;
  #parentCard: Card | undefined;
  #local: LocalConnector | undefined;
  #configStore: ConfigStore | undefined;
  #stateService: StateMachineService | undefined;
  #overlayService: OverlayService | undefined;
  #shutdownService: ShutdownService | undefined;
  #removeHandlers: () => void = () => {};

  constructor(options: BrokerOptions, attrs: Attributes, boot: Boot, enclosing: Enclosing, config: JsonObject, hostname: string) {
    this.#options = options;
    this.#attrs = attrs;
    this.#boot = boot;
    this.#config = config;
    const { rank, size } = boot;
    this.#hostname = hostname;
    this.#keypair = boot.wiring?.keypair ?? generateKeypair();
    setupTree(attrs, config);
    this.#topology = parseTopology(attrs.setDefault("tbon.topo", boot.wiring === undefined ? "kary:32" : "custom"), size, boot.wiring?.parents);
    setupAttributes(attrs, { boot, topology: this.#topology, enclosing, uuid: this.#uuid, owner: this.#owner, hostname: this.#hostname });
    quorumSize(attrs.require("broker.quorum"), size);
    for (const name of DURATIONS) if (attrs.require(name) !== "none") seconds(attrs, name);

    this.#log = new Log({ rank, attrs, verbose: options.verbose, forward: (line) => this.#forwardLog(line), openSyslog: () => openSyslog("flux"), writeStderr });
    this.#router = new Router({ rank, topology: this.#topology, owner: this.#owner, warn: (text) => this.#log.write(4, text) });
    this.#overlay = this.#newOverlay();
    this.#h = openInternal(this.#router, this.#owner, { name: "broker", ownService: "service" }, randomUUID).handle;
    this.#host = new ModuleHost({
      router: this.#router,
      context: () => ({
        rank,
        size,
        owner: this.#owner,
        clock: realClock,
        random: systemRandom,
        config: this.#currentConfig(),
      }),
      newId: randomUUID,
      now_ms: () => Date.now(),
      processes: {
        env: () => programEnvironment(attrs.require("local-uri"), attrs.get("jobid")),
        attrs: () => attrs.fixed(),
        log: (level, text) => this.#log.write(level, text),
      },
    });
    this.#systemd = new Systemd({
      send: notifySocket(attrs, process.env),
      rank,
      size,
      parentEndpoint: () => attrs.get("tbon.parent-endpoint"),
      stopTimeout_s: attrs.require("broker.sd-stop-timeout") === "none" ? 0 : seconds(attrs, "broker.sd-stop-timeout"),
    });
    this.#programs = new Programs({
      clock: realClock,
      environment: () => programEnvironment(attrs.require("local-uri"), attrs.get("jobid")),
      log: (level, text) => this.#log.write(level, text),
      ownGroup: () => attrs.has("broker.rc2_pgrp"),
      starting: (title) => this.#systemd.progress(`Running ${title}`),
    });
    this.#lifecycle = this.#newLifecycle();
  }

  async run(): Promise<number> {
    this.#definePrograms();
    // Before there is anything that a signal must not leave behind.
    this.#handleSignals();
    this.#makeDirectories();
    const { rank, size } = this.#boot;
    this.#say(1, `boot: rank=${rank} size=${size}`);
    this.#say(2, "entering event loop");
    try {
      return await this.#lifecycle.run();
    } finally {
      this.#say(2, "cleaning up");
      this.#removeHandlers();
    }
  }

  /** What only --verbose tells, or -vv. */
  #say(verbose: 1 | 2, text: string): void {
    if (this.#options.verbose >= verbose) this.#log.write(6, text);
  }

  /** Our starter was killed: everything must go, soon, whatever it is doing. */
  starterLost(): void {
    const { rank } = this.#boot;
    this.#lifecycle.fail(1);
    setTimeout(() => {
      this.removeDirectories();
      process.exit(1);
    }, ORPHAN_GRACE_MS).unref();
    // Followers go down with rank 0, in order; those that have not joined yet have nobody to wait for.
    if (rank === 0 || !this.#overlay.isConnectedToParent) this.#lifecycle.kill(true);
  }

  removeDirectories(): void {
    for (const cleanup of this.#cleanups.splice(0).reverse()) {
      try {
        cleanup();
      } catch (err) {
        writeStderr(`flux-broker: ${toFluxError(err).message}\n`);
      }
    }
  }

  #newOverlay(): Overlay {
    const { rank } = this.#boot;
    const attrs = this.#attrs;
    return new Overlay({
      rank,
      uuid: this.#uuid,
      version: FLUX_VERSION,
      owner: this.#owner,
      keypair: this.#keypair,
      childRanks: childrenOf(this.#topology, rank),
      router: this.#router,
      clock: realClock,
      log: (level, text) => this.#log.write(level, text.replace(/^overlay: /, ""), "overlay"),
      hostOf: (r) => this.#hosts[r] ?? `rank ${r}`,
      welcome: () => ({ hostlist: attrs.get("hostlist") ?? "" }),
      connectTimeout_ms: seconds(attrs, "tbon.connect_timeout") * 1000,
      // A launcher has started everybody by now; hosts with a configuration come up in any order, at any time.
      patience_ms: this.#boot.wiring === undefined ? seconds(attrs, "tbon.connect_timeout") * 1000 : Number.POSITIVE_INFINITY,
      torpid: torpidSettings(attrs),
      tcpTimeout_ms: seconds(attrs, "tbon.tcp_user_timeout") * 1000,
    });
  }

  #currentConfig(): JsonObject {
    return this.#configStore?.current ?? this.#config;
  }

  #newLifecycle(): Lifecycle {
    const { rank, size } = this.#boot;
    return new Lifecycle({
      rank,
      size,
      attrs: this.#attrs,
      clock: realClock,
      log: this.#log,
      h: this.#h,
      host: this.#host,
      overlay: this.#overlay,
      systemd: this.#systemd,
      programs: this.#programs,
      config: () => this.#currentConfig(),
      loadBuiltins: () => this.#loadBuiltins(),
      join: () => this.#join(),
      syncConfig: async () => this.#configStore?.followParent(rank),
      lastWords: () => this.#shutdownService?.finished(),
      unloadBuiltins: () => this.#unloadBuiltins(),
      changed: () => this.#stateService?.changed(),
    });
  }

  #definePrograms(): void {
    const attrs = this.#attrs;
    const shell = process.env["SHELL"] ?? "/bin/bash";
    for (const [name, attr, own] of [["rc1", "broker.rc1_path", RC1_DEFAULT], ["rc3", "broker.rc3_path", RC3_DEFAULT]] as const) {
      const line = attrs.require(attr);
      // Without anything of the site it is quicker to do it here.
      if (line !== "" && (line !== own || hasSiteFiles(name, process.env))) this.#programs.push(name, shellCommand(line, shell, false));
    }
    if (this.#boot.rank === 0 && !attrs.has("broker.rc2_none")) this.#programs.push("rc2", initialProgram(this.#options.command));
  }

  #makeDirectories(): void {
    const rundir = setupDirectory(this.#attrs, "rundir");
    this.#cleanups.push(rundir.cleanup, linkProgram(rundir.path));
    if (this.#boot.rank === 0) this.#cleanups.push(setupDirectory(this.#attrs, "statedir").cleanup);
    else this.#attrs.delete("statedir");
    this.#attrs.setDefault("local-uri", `local://${rundir.path}/local-${this.#boot.rank}`);
  }

  #handleSignals(): void {
    const kill = (signal: NodeJS.Signals): void => {
      this.#log.write(6, `signal ${signal}`);
      this.#lifecycle.kill(false);
    };
    const signals: readonly NodeJS.Signals[] = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGALRM"];
    for (const signal of signals) process.on(signal, kill);
    // An exception that nobody caught is a bug of one part; the others, and the jobs, go on.
    const bug = (err: unknown): void => this.#log.write(2, `internal error: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`);
    process.on("uncaughtException", bug);
    process.on("unhandledRejection", bug);
    setReceiverErrorHandler(bug);
    this.#removeHandlers = () => {
      // The process is about to end by itself: a signal that comes now must not change its exit code.
      for (const signal of signals) process.on(signal, () => undefined).off(signal, kill);
      process.off("uncaughtException", bug);
      process.off("unhandledRejection", bug);
    };
  }

  // ---- the built-in services

  async #loadBuiltins(): Promise<void> {
    const { rank } = this.#boot;
    await this.#serve();
    this.#local = listenLocal({
      path: this.#attrs.require("local-uri").replace(/^local:\/\//, ""),
      router: this.#router,
      owner: this.#owner,
      newId: randomUUID,
      access: currentAccess(() => this.#currentConfig()),
      log: (level, text) => this.#log.write(level, text.replace(/^connector-local: /, ""), "connector-local"),
    });
    for (const name of EARLY_MODULES) {
      const definition = await loadBuiltin(name);
      this.#say(2, `loading ${name}`);
      if (definition !== undefined) await this.#host.load(definition, [], "builtin", name, true);
    }
    // The code of the modules is read while the others are on their way.
    // One that can't be read fails again, and is reported, when rc1 wants it.
    const modules = Promise.allSettled(usualModules(rank).map((name) => loadBuiltin(name)));
    await this.#wireUp();
    await modules;
    if (rank === 0) {
      tellParent(this.#attrs).catch((err: unknown) => {
        this.#log.write(3, `the enclosing instance could not be told of this one: ${toFluxError(err).message}`);
      });
    }
  }

  async #serve(): Promise<void> {
    const { rank } = this.#boot;
    const h = this.#h;
    await serveService(h, this.#router);
    await serveEvent(h, this.#router);
    await serveLog(h, this.#log);
    await serveAttr(h, this.#attrs);
    await serveBroker(h, rank, BUILTIN_CONFIG);
    const tracer = new Tracer(this.#router);
    await serveModule(h, this.#host, tracer, () => Date.now());
    await serveRunat(h, this.#programs);
    this.#shutdownService = await serveShutdown(h, this.#log, () => this.#lifecycle.shutdown());
    this.#stateService = await serveStateMachine(h, this.#lifecycle.machine, this.#systemd);
    this.#overlayService = await serveOverlay(h, this.#router, this.#overlay, this.#topology, rank, realClock, tracer);
    this.#configStore = await serveConfig(h, {
      rank,
      initial: this.#config,
      path: this.#attrs.get("config.path"),
      apply: async (config) => {
        accessRules(config);
        // What a broker was started with goes before the configuration that it finds.
        if (stateNumber(this.#lifecycle.state) > stateNumber("config-sync")) this.#overlay.torpid = applyTorpidConfig(this.#attrs, config);
        await this.#host.reconfigure(config);
      },
    });
    this.#overlay.onEvents({
      childChanged: (child) => {
        this.#overlayService?.childChanged(child);
        this.#lifecycle.childChanged();
      },
      statusChanged: () => this.#overlayService?.statusChanged(),
      parentLost: (error) => this.#lifecycle.parentLost(error),
    });
  }

  /** Listens for the children, and learns who they, the parent, and (on rank 0) all others are. */
  async #wireUp(): Promise<void> {
    const { rank, size } = this.#boot;
    const children = childrenOf(this.#topology, rank);
    const parent = parentOf(this.#topology, rank);
    let endpoint: string | undefined;
    // In recovery mode rank 0 is for its administrator alone.
    if (children.length > 0 && !(this.#boot.wiring !== undefined && this.#attrs.has("broker.recovery-mode"))) {
      endpoint = await this.#listen();
      this.#attrs.set("tbon.endpoint", endpoint);
    }
    const card: Card = { hostname: this.#hostname, publicKey: encodeZ85(this.#keypair.publicKey), endpoint };
    const wanted = rank === 0 ? range(size) : [...(parent === undefined ? [] : [parent]), ...children];
    const cards = await this.#boot.exchange(card, wanted);
    await this.#boot.finish();
    if (rank === 0) this.#setHosts(range(size).map((r) => (r === 0 ? card : cards.get(r))?.hostname ?? "unknown"));
    if (parent !== undefined) this.#parentCard = cards.get(parent);
    if (this.#parentCard?.endpoint !== undefined) this.#attrs.set("tbon.parent-endpoint", this.#parentCard.endpoint);
    this.#overlay.knowChildren(new Map(children.flatMap((r) => (cards.has(r) ? [[r, cards.get(r) as Card]] : []))));
  }

  /** Resolves to the endpoint at which our children reach us. */
  async #listen(): Promise<string> {
    const { wiring } = this.#boot;
    if (wiring === undefined) return this.#overlay.listen(await this.#listenAddress());
    const bind = wiring.bind();
    const connect = wiring.connect();
    try {
      await this.#overlay.listen(bind);
    } catch (err) {
      const { errno: number, message } = toFluxError(err);
      throw new FluxError(number, number === errno.EINVAL ? message : `cannot listen at ${bind}: ${strerror(number)}`, { cause: err });
    }
    return connect;
  }

  /** ipc:// in the run directory when all our children are on this host, otherwise tcp:// on an address they can reach. */
  async #listenAddress(): Promise<string> {
    const { rank, nodeOfRank } = this.#boot;
    const nearby = nodeOfRank !== undefined && childrenOf(this.#topology, rank).every((child) => nodeOfRank[child] === nodeOfRank[rank]);
    const path = `${this.#attrs.require("rundir")}/tbon-${rank}`;
    const preferTcp = Number(this.#attrs.require("tbon.prefertcp")) !== 0;
    if (nearby && !preferTcp && Buffer.byteLength(path) <= SOCKET_PATH_MAX_BYTES) return `ipc://${path}`;
    const { addressFor } = await import("./boot/address.ts");
    const address = await addressFor(this.#attrs.require("tbon.interface-hint"), this.#hostname);
    return address.includes(":") ? `tcp://[${address}]:0` : `tcp://${address}:0`;
  }

  async #join(): Promise<void> {
    const parent = parentOf(this.#topology, this.#boot.rank);
    if (parent === undefined || this.#parentCard === undefined) throw new FluxError(errno.EPROTO, "the parent broker published no address");
    const welcome = await this.#overlay.connectParent(parent, this.#parentCard).catch((err: unknown) => {
      const { errno: number, message } = toFluxError(err);
      const advice = number === errno.EPERM && this.#boot.wiring !== undefined ? " (is the file curve_cert the same on both hosts?)" : "";
      throw new FluxError(number, `${message}${advice}`, { cause: err });
    });
    this.#hasJoined = true;
    const { hostlist } = unpack(welcome, { hostlist: str });
    this.#setHosts(Hostlist.parse(hostlist).toArray());
  }

  #setHosts(hosts: readonly string[]): void {
    this.#hosts = hosts;
    if (!this.#attrs.has("hostlist")) this.#attrs.set("hostlist", Hostlist.from(hosts).toString());
  }

  /** False before we have joined: errors of a broker that never comes to join must not be lost. */
  #forwardLog(line: string): boolean {
    if (!this.#overlay.isConnectedToParent || this.#h.isClosed) return this.#hasJoined;
    this.#h.notify("log.append", Buffer.from(`${line}\0`), { upstreamOf: this.#boot.rank });
    return true;
  }

  async #unloadBuiltins(): Promise<void> {
    for (const name of [...EARLY_MODULES].reverse()) {
      this.#say(2, `unloading ${name}`);
      if (this.#host.has(name)) await this.#host.remove(name);
    }
    await this.#overlay.close();
    this.#local?.close();
    this.#h.close();
  }
}

function seconds(attrs: Attributes, name: string): number {
  try {
    return parseDuration(attrs.require(name));
  } catch (err) {
    throw new FluxError(errno.EINVAL, `${name}: ${toFluxError(err).message}`);
  }
}

/** Where systemd is to be told how we are. */
function notifySocket(attrs: Attributes, env: NodeJS.ProcessEnv): ((text: string) => void) | undefined {
  const path = env["NOTIFY_SOCKET"] ?? "";
  return (attrs.get("broker.sd-notify") ?? "0") === "0" || path === "" ? undefined : openDatagramSender(path);
}

function range(size: number): number[] {
  return Array.from({ length: size }, (_, i) => i);
}
