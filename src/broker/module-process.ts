// ModuleProcess: a module in a process of its own, as RFC 5 has it. A loader, `flux LOADER PATH`, finds a connection to us in
// FLUX_MODULE_URI, on which we say first, and it answers as it goes:
//
//   welcome       { args, attrs, conf, name, uuid }     no response
//   module.status { status: 1 }                         it runs; no response
//   module.status { status: 2 }                         it ends and takes no more; we say yes
//   module.status { status: 3, errnum }                 it has ended; no response
//
// Everything else on the connection are messages of the module, as of any other. ping, stats-get, config-reload, … are its own.
import type { JsonObject } from "../formats/json.ts";
import { describeSignal } from "../formats/signal.ts";
import { exitCode, termSignal } from "../formats/waitstatus.ts";
import { errno, FluxError } from "../message/errno.ts";
import { type Message, MSG_REQUEST, requestMessage, responseMessage } from "../message/message.ts";
import { ROLE_LOCAL, ROLE_OWNER, USERID_UNKNOWN } from "../message/roles.ts";
import { def, int, unpack } from "../message/unpack.ts";
import type { Clock, Timer } from "../os/clock.ts";
import { selfCommand } from "../os/self.ts";
import { type Child, spawnProcess } from "../os/spawn.ts";
import { streamSocket } from "../transport/stream-socket.ts";
import { UnixLink } from "../transport/unix.ts";
import { count, noTraffic } from "./endpoints.ts";
import type { Router } from "./router.ts";

const RUNNING = 1;
const FINALIZING = 2;
const EXITED = 3;
const ROLEMASK = ROLE_OWNER | ROLE_LOCAL;
/** Between the end of a process and that of its connection, whichever comes first. */
const MOMENT_MS = 1000;
/** Its connection to us: the first descriptor after stdin, stdout and stderr. */
export const MODULE_CHANNEL = { fd: 3, uri: "fd://3" } as const;

export interface ModuleProcessOptions {
  readonly router: Router;
  readonly owner: number;
  readonly id: string;
  readonly name: string;
  readonly loader: string;
  readonly path: string;
  readonly args: readonly string[];
  /** Attributes that don't change: it need not ask for them. */
  readonly attrs: Readonly<Record<string, string>>;
  readonly config: JsonObject;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly now_ms: () => number;
  readonly clock: Clock;
  /** One that is told to end has so long for it. */
  readonly patience_ms: number;
}

export class ModuleProcess {
  readonly traffic = noTraffic();
  readonly id: string;
  /** Resolves when it says that it runs; rejects when it has ended before. */
  readonly running: Promise<void>;
  /** Resolves when it is gone: to what went wrong, if anything did. */
  readonly gone: Promise<FluxError | undefined>;
  lastReceived_ms: number;
  readonly #options: ModuleProcessOptions;
  readonly #started = Promise.withResolvers<void>();
  readonly #child: Child;
  readonly #link: UnixLink;
  #failure: FluxError | undefined;
  /** Of the end of a process whose connection has ended. */
  #timer: Timer | undefined;
  #finalizing = false;
  #exited = false;

  /** Throws EEXIST for a name that is a service already, and what keeps the loader from starting. */
  constructor(options: ModuleProcessOptions) {
    this.#options = options;
    this.id = options.id;
    this.lastReceived_ms = options.now_ms();
    this.running = this.#started.promise;
    this.running.catch(() => undefined);
    this.#join();
    try {
      this.#child = this.#spawn();
    } catch (err) {
      options.router.removeEndpoint(this.id);
      throw err;
    }
    this.#link = this.#connect();
    this.gone = this.#end();
  }

  get pid(): number {
    return this.#child.pid;
  }

  kill(signal: string): void {
    this.#child.killGroup(signal);
  }

  #join(): void {
    const { router, owner, id, name } = this.#options;
    router.addEndpoint({
      id,
      name,
      module: name,
      mayVanish: true,
      userid: owner,
      rolemask: ROLEMASK,
      send: (message) => {
        count(this.traffic.rx, message);
        this.lastReceived_ms = this.#options.now_ms();
        this.#link.send(message);
      },
      failed: (reason) => this.#link.destroy(reason),
    });
    try {
      router.addService(name, id);
    } catch (err) {
      router.removeEndpoint(id);
      throw err;
    }
  }

  #spawn(): Child {
    const { loader, path, env } = this.#options;
    return spawnProcess({
      argv: [...selfCommand(), loader, path],
      env: { ...env, FLUX_MODULE_URI: MODULE_CHANNEL.uri },
      newSession: true,
      extraFds: [{ onData: (chunk) => this.#link.handleData(chunk), onClose: (error) => this.#link.handleClose(error) }],
    });
  }

  #connect(): UnixLink {
    const { args, attrs, config, name, id } = this.#options;
    const channel = this.#child.extra[0];
    if (channel === undefined) throw new FluxError(errno.EBADF, "the loader was started without a connection");
    const link = new UnixLink(streamSocket(channel, () => link.handleDrain(), () => this.kill("SIGTERM")));
    link.start(
      (message) => this.#receive(message),
      (reason) => this.#disconnected(reason),
    );
    link.sendRaw(Buffer.from([0])); // Let in, as on the local socket.
    this.#tell(link, requestMessage("welcome", { args, attrs, conf: config, name, uuid: id }, { noResponse: true }));
    return link;
  }

  /** Nobody can reach it any more, and it will not hear that it shall go: it has to end. */
  #disconnected(reason: FluxError | undefined): void {
    const { router, clock, patience_ms } = this.#options;
    if (reason !== undefined) this.#failure ??= reason;
    this.#timer = clock.setTimer(MOMENT_MS, () => {
      router.removeEndpoint(this.id);
      this.kill("SIGTERM");
      this.#timer = clock.setTimer(patience_ms, () => this.kill("SIGKILL"));
    });
  }

  /** In the name of the owner: from nobody it would be dropped. */
  #tell(link: UnixLink, message: Message): void {
    message.userid = this.#options.owner;
    message.rolemask = ROLEMASK;
    link.send(message);
  }

  #receive(message: Message): void {
    count(this.traffic.tx, message);
    if (message.userid === USERID_UNKNOWN) {
      message.userid = this.#options.owner;
      message.rolemask = ROLEMASK;
    }
    if (message.type === MSG_REQUEST && message.topic === "module.status") return this.#status(message);
    if (!this.#finalizing) this.#options.router.fromEndpoint(this.id, message);
  }

  #status(message: Message): void {
    const { status, errnum } = unpack(message.payload, { status: int, errnum: def(int, 0) });
    if (status === RUNNING) return this.#started.resolve();
    if (status === FINALIZING) {
      // Its services go now, so that nobody waits for what it will not answer; the answer to this is the last that it gets.
      this.#finalizing = true;
      this.#options.router.removeEndpoint(this.id);
      return this.#tell(this.#link, responseMessage(message, undefined));
    }
    if (status !== EXITED) throw new FluxError(errno.EPROTO, `module ${this.#options.name}: ${status} is no status of a module`);
    this.#exited = true;
    if (errnum !== 0) this.#failure ??= new FluxError(errnum);
  }

  async #end(): Promise<FluxError | undefined> {
    const { clock, router } = this.#options;
    const { status } = await this.#child.exited;
    // What it has started may hold its end of the connection.
    const timer = clock.setTimer(MOMENT_MS, () => this.#link.destroy(undefined));
    await this.#child.extra[0]?.closed;
    clock.clear(timer);
    clock.clear(this.#timer);
    router.removeEndpoint(this.id);
    const failure = this.#failure ?? this.#unsaid(status);
    this.#started.reject(failure ?? new FluxError(errno.ECONNRESET, "the module has ended"));
    return failure;
  }

  /** What is wrong with an end that the module has not spoken of. */
  #unsaid(status: number): FluxError | undefined {
    const { loader } = this.#options;
    const code = exitCode(status) ?? 0;
    const signal = termSignal(status);
    if (signal !== undefined) return new FluxError(errno.EINVAL, `loader (${loader}) killed by ${describeSignal(signal)}`);
    if (code !== 0) return new FluxError(errno.EINVAL, `loader (${loader}) exited with exit code ${code}`);
    return this.#exited ? undefined : new FluxError(errno.EINVAL, `loader (${loader}) exited with exit code 0 but did not report module status`);
  }
}
