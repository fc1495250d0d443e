// How a broker learns its rank, the size of the instance, and the cards of its neighbours: from the configuration, from a
// launcher's PMI, or by being alone.
import { type BootstrapHost, loadCertificate, readBootstrap, resolveBind, type Bootstrap } from "./bootstrap-config.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { writeStderr } from "../../os/stderr.ts";
import { hasPmi, type PmiClient, type PmiEnvironment } from "../../pmi/client.ts";
import { methodsFrom, openPmi, parallelLaunch, PMI_METHODS } from "../../pmi/methods.ts";
import { parseProcessMapping } from "../../pmi/process-mapping.ts";
import { encodeZ85, type Keypair } from "../../transport/zmtp/keypair.ts";
import { type Card, formatCard, parseCard } from "../overlay/card.ts";

export interface Boot {
  /** The value of broker.boot-method. */
  readonly method: string;
  readonly rank: number;
  readonly size: number;
  /** Name that the launcher gives this program: a job id when the launcher is Flux. */
  readonly jobid: string | undefined;
  readonly instanceLevel: number;
  /** Node of each rank; undefined when the launcher does not say. */
  readonly nodeOfRank: readonly number[] | undefined;
  /** What the configuration prescribes; undefined: brokers choose addresses and keys themselves. */
  readonly wiring: Wiring | undefined;
  /** Publishes our card, waits for everybody else's, and reads those of `ranks`. */
  exchange(card: Card, ranks: readonly number[]): Promise<Map<number, Card>>;
  /** The launcher is not needed any more. */
  finish(): Promise<void>;
}

export interface Wiring {
  /** The keys that all brokers have in common; undefined for a broker that is alone. */
  readonly keypair: Keypair | undefined;
  /** The rank above each rank; -1 above rank 0. */
  readonly parents: readonly number[];
  /** Where to listen. Throws FluxError when the configuration does not say, or there is no such interface. */
  bind(): string;
  /** Where our children reach us. Throws FluxError when the configuration does not say. */
  connect(): string;
}

export interface BootOptions {
  /** The attribute broker.boot-method as it was set: "config" or a PMI method. */
  readonly method: string | undefined;
  readonly env: PmiEnvironment;
  readonly config: JsonObject;
  readonly hostname: string;
}

export async function openBoot(options: BootOptions): Promise<Boot> {
  const { env, method, config, hostname } = options;
  const known = ["config", ...PMI_METHODS];
  if (method !== undefined && !known.includes(method.replace(/:.*/s, ""))) {
    throw new FluxError(errno.EINVAL, `broker.boot-method=${method} is not supported: use ${known.join(", ")}`);
  }
  const methods = method === undefined ? methodsFrom(env) : [method];
  const trace = (env["FLUX_PMI_DEBUG"] ?? "") === "" ? undefined : (text: string): void => writeStderr(`flux-broker: ${text}\n`);
  if (methods.includes("config")) {
    const bootstrap = readBootstrap(config, hostname);
    if (bootstrap !== undefined) return fromConfig(bootstrap);
    trace?.("config: bootstrap configuration not found");
    if (method === "config") throw new FluxError(errno.ENOENT, "broker.boot-method=config: the configuration has no table [bootstrap]");
  }
  const rest = methods.filter((name) => name !== "config");
  // A broker that is plainly alone has no need to look for PMI.
  if (trace === undefined && rest.at(-1) === "single" && !hasPmi(env) && rest.every((name) => name === "single" || name === "simple")) return alone(env);
  const { method: found, pmi } = await openPmi(rest, { env, trace });
  if (found === "single" || (pmi.size === 1 && found !== "simple")) return alone(env);
  return fromPmi(found, pmi);
}

function alone(env: PmiEnvironment): Boot {
  const launch = parallelLaunch(env);
  // Each of them finds the same: one says so.
  if (launch?.rank === 0) {
    const advice = launch.launcher === "srun" ? "try srun --mpi=pmi2" : "FLUX_PMI_DEBUG=1 shows what was tried";
    const text = `no PMI was found, though ${launch.launcher} has started ${launch.size} of us: each is an instance of its own, of size 1`;
    writeStderr(`flux-broker: warning: ${text} (${advice})\n`);
  }
  return {
    method: "single",
    rank: 0,
    size: 1,
    jobid: undefined,
    instanceLevel: 0,
    nodeOfRank: [0],
    wiring: undefined,
    exchange: () => Promise.resolve(new Map()),
    finish: () => Promise.resolve(),
  };
}

function fromConfig(bootstrap: Bootstrap): Boot {
  const { hosts, rank, parents, curveCert, enableIpv6 } = bootstrap;
  const keypair = curveCert === undefined ? undefined : loadCertificate(curveCert);
  const publicKey = keypair === undefined ? "" : encodeZ85(keypair.publicKey);
  const of = (r: number): BootstrapHost => hosts[r] as BootstrapHost;
  const required = (uri: string | undefined, what: string, r: number): string => {
    if (uri === undefined) throw new FluxError(errno.EINVAL, `Config file error [bootstrap]: ${what} URI is undefined for rank ${r} (${of(r).host})`);
    return uri;
  };
  return {
    method: "config",
    rank,
    size: hosts.length,
    jobid: undefined,
    instanceLevel: 0,
    nodeOfRank: undefined,
    wiring: {
      keypair,
      parents,
      bind: () => resolveBind(required(of(rank).bind, "bind", rank), enableIpv6),
      connect: () => required(of(rank).connect, "connect", rank),
    },
    exchange(_, ranks) {
      const card = (r: number): Card => ({ hostname: of(r).host, publicKey, endpoint: r === parents[rank] ? required(of(r).connect, "connect", r) : of(r).connect });
      return Promise.resolve(new Map(ranks.map((r) => [r, card(r)])));
    },
    finish: () => Promise.resolve(),
  };
}

async function fromPmi(method: string, pmi: PmiClient): Promise<Boot> {
  const level = await pmi.get("flux.instance-level");
  const mapping = await pmi.get("PMI_process_mapping");
  return {
    method,
    rank: pmi.rank,
    size: pmi.size,
    jobid: level === undefined ? undefined : pmi.kvsname,
    instanceLevel: Number(level ?? 0),
    nodeOfRank: mapping === undefined ? undefined : parseProcessMapping(mapping, pmi.size),
    wiring: undefined,
    async exchange(card, ranks) {
      if (pmi.size === 1) return new Map();
      await pmi.put(cardKey(pmi.rank), formatCard(card));
      await pmi.barrier();
      const cards = new Map<number, Card>();
      for (const rank of ranks) {
        const text = await pmi.get(cardKey(rank));
        if (text === undefined) throw new FluxError(errno.EPROTO, `the launcher's PMI has no address of broker ${rank}`);
        cards.set(rank, parseCard(text, rank));
      }
      return cards;
    },
    async finish() {
      await pmi.finalize();
    },
  };
}

function cardKey(rank: number): string {
  return `flux.broker.${rank}`;
}
