// A whole instance inside the test's process: N routers joined by memory links as a tree, each with the event,
// service and attr services and whatever modules the test loads. No sockets, no processes.
//
//   const cluster = await startCluster({ size: 3, modules: [barrier] });
//   const h = cluster.open(2);                    // a client's handle on rank 2
//   await cluster.stop();
import { openInternal } from "../../src/broker/endpoints.ts";
import { ModuleHost } from "../../src/broker/module-host.ts";
import { parentOf, parseTopology } from "../../src/broker/overlay/topology.ts";
import { type Peer, Router } from "../../src/broker/router.ts";
import { serveEvent } from "../../src/broker/services/event.ts";
import { serveService } from "../../src/broker/services/service.ts";
import type { Flux } from "../../src/client/flux.ts";
import type { ModuleDefinition } from "../../src/client/module.ts";
import { allowUser } from "../../src/client/service.ts";
import type { JsonObject } from "../../src/formats/json.ts";
import { errno, FluxError } from "../../src/message/errno.ts";
import { decodeParts, encodeParts } from "../../src/message/codec.ts";
import type { Message } from "../../src/message/message.ts";
import { str, uint } from "../../src/message/unpack.ts";
import { realClock } from "../../src/os/clock.ts";
import { systemRandom } from "../../src/os/random.ts";

export interface ClusterOptions {
  readonly size?: number;
  readonly topology?: string;
  /** Loaded in this order, on every rank; `rank0` only on rank 0, before the others. */
  readonly modules?: readonly (ModuleDefinition | readonly [ModuleDefinition, ...string[]])[];
  readonly rank0?: readonly (ModuleDefinition | readonly [ModuleDefinition, ...string[]])[];
  readonly config?: JsonObject;
  readonly attrs?: Readonly<Record<string, string>>;
}

export interface TestBroker {
  readonly rank: number;
  readonly router: Router;
  readonly host: ModuleHost;
  /** Lines of log.append. */
  readonly log: string[];
}

export interface Cluster {
  readonly brokers: readonly TestBroker[];
  /** A new handle on a rank (default 0), as a local client of the owner has. */
  open(rank?: number): Flux;
  /** Cuts a broker off from its parent: both sides see the link break. */
  disconnect(rank: number): void;
  /** Unloads all modules in reverse order. */
  stop(): Promise<void>;
}

export const OWNER = process.getuid?.() ?? 0;

export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const size = options.size ?? 1;
  const topology = parseTopology(options.topology ?? "kary:2", size);
  const brokers = Array.from({ length: size }, (_, rank) => newBroker(rank, topology, options));
  for (const broker of brokers) {
    const parent = parentOf(topology, broker.rank);
    if (parent !== undefined) join(broker, brokers[parent] as TestBroker);
  }
  for (const broker of brokers) await serveBuiltins(broker, size, options.attrs ?? {});
  for (const item of options.rank0 ?? []) await load(brokers[0] as TestBroker, item);
  for (const item of options.modules ?? []) for (const broker of brokers) await load(broker, item);
  return {
    brokers,
    open: (rank = 0) => openInternal((brokers[rank] as TestBroker).router, OWNER, { name: "test" }, () => crypto.randomUUID()).handle,
    disconnect(rank) {
      const parent = parentOf(topology, rank);
      brokers[rank]?.router.setParent(undefined);
      if (parent !== undefined) brokers[parent]?.router.removeChild(rank);
    },
    async stop() {
      for (const broker of [...brokers].reverse()) {
        for (const module of broker.host.list().reverse()) await broker.host.remove(module.name);
      }
    },
  };
}

async function load(broker: TestBroker, item: ModuleDefinition | readonly [ModuleDefinition, ...string[]]): Promise<void> {
  if (!Array.isArray(item)) return broker.host.load(item as ModuleDefinition);
  const [definition, ...args] = item as readonly [ModuleDefinition, ...string[]];
  await broker.host.load(definition, args);
}

function newBroker(rank: number, topology: ReturnType<typeof parseTopology>, options: ClusterOptions): TestBroker {
  const log: string[] = [];
  const router = new Router({ rank, topology, warn: (text) => log.push(text) });
  const host = new ModuleHost({
    router,
    context: () => ({ rank, size: topology.size, owner: OWNER, clock: realClock, random: systemRandom, config: options.config ?? {} }),
    newId: () => crypto.randomUUID(),
    now_ms: () => Date.now(),
    processes: { env: () => process.env, attrs: () => ({ rank: String(rank) }), log: () => undefined },
  });
  return { rank, router, host, log };
}

/** Joins two routers. Messages are encoded and decoded on the way, as a real link does. */
function join(child: TestBroker, parent: TestBroker): void {
  const copy = (message: Message): Message => decodeParts(encodeParts(message).map((part) => Buffer.from(part)));
  const failed = (reason: FluxError): void => {
    throw reason;
  };
  const parentPeer: Peer = {
    id: `rank${parent.rank}-of-${child.rank}`,
    rank: parent.rank,
    send: (message) => {
      const copied = copy(message);
      queueMicrotask(() => parent.router.fromPeer(childPeer, copied));
    },
    failed,
  };
  const childPeer: Peer = {
    id: `rank${child.rank}`,
    rank: child.rank,
    send: (message) => {
      const copied = copy(message);
      queueMicrotask(() => child.router.fromPeer(parentPeer, copied));
    },
    failed,
  };
  child.router.setParent(parentPeer);
  parent.router.addChild(childPeer);
}

async function serveBuiltins(broker: TestBroker, size: number, attrs: Readonly<Record<string, string>>): Promise<void> {
  // The service service is registered with the handle: there is nobody yet to register it with.
  const { handle: h } = openInternal(broker.router, OWNER, { name: "broker", ownService: "service" }, () => crypto.randomUUID());
  await serveService(h, broker.router);
  await serveEvent(h, broker.router);
  const values = new Map(Object.entries({ rank: String(broker.rank), size: String(size), "instance-level": "0", "security.owner": String(OWNER), hostlist: hostlistOf(size), ...attrs }));
  await h.serve("attr", {
    get: allowUser((req) => {
      const value = values.get(req.unpack({ name: str }).name);
      if (value === undefined) throw new FluxError(errno.ENOENT);
      return { value, flags: 0 };
    }),
    set: (req) => {
      const { name, value } = req.unpack({ name: str, value: str });
      values.set(name, value);
    },
  });
  await h.serve("log", {
    append: allowUser((req) => {
      broker.log.push(req.message.text ?? "");
    }),
  });
  await h.serve("broker", { rank: allowUser(() => ({ rank: broker.rank })), echo: allowUser((req) => ({ userid: uint(req.userid, "userid") })) });
}

function hostlistOf(size: number): string {
  return size === 1 ? "test0" : `test[0-${size - 1}]`;
}
