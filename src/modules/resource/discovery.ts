// What every broker does for R: look at its own host, and pass what it found up the tree, joined with what its children found.
//
//   resource.topo-reduce { count, resource: R }   answered when rank 0 has it
//   resource.topo-get                             → this host's hwloc XML
//
// A broker sends on what it has; nothing waits for a child that is late. When a link breaks on the way the sender sends again.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Flux } from "../../client/flux.ts";
import { IdSet } from "../../formats/idset.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import type { Clock } from "../../os/clock.ts";
import { hostname } from "../../os/hostname.ts";
import { hostnameOfHwlocXml, parseHwlocXml } from "../../os/hwloc-xml.ts";
import { discoverTopology, type Topology } from "../../os/topology.ts";

const RETRY_MS = 250;

/** The resources of this host, as R of one rank. */
export function localR(rank: number, norestrict: boolean): Rset {
  return rsetOf(rank, hostname(), discoverTopology(norestrict ? { allowed: "all" } : {}));
}

function rsetOf(rank: number, host: string, topology: Topology): Rset {
  const R = new Rset();
  R.add(rank, { host, cores: firstIds(topology.cores.length), gpus: firstIds(topology.gpus.length) });
  return R;
}

function firstIds(count: number): IdSet {
  return count === 0 ? new IdSet() : IdSet.range(0, count - 1);
}

/** R of a directory with files RANK.xml in hwloc's format. */
export function loadXmlDirectory(path: string): Rset {
  const R = new Rset();
  let names: string[];
  try {
    names = readdirSync(path);
  } catch (err) {
    throw new FluxError(toFluxError(err, errno.EIO).errno, `${path}: ${toFluxError(err).message}`, { cause: err });
  }
  for (const name of names) {
    const rank = /^(\d+)\.xml$/.exec(name)?.[1];
    if (rank === undefined) continue;
    const xml = readFileSync(join(path, name), "utf8");
    const topology = parseHwlocXml(xml);
    const { host, cores, gpus } = rsetOf(Number(rank), hostnameOfHwlocXml(xml) ?? hostname(), topology).node(Number(rank)) ?? {};
    R.add(Number(rank), { host, ...(cores && { cores }), ...(gpus && { gpus }) });
  }
  if (R.isEmpty) throw new FluxError(errno.EINVAL, `${path}: invalid directory: no XML input files found`);
  return R;
}

/** Joins what comes in within one turn and sends it to the nearest resource module above. */
export class Upward {
  readonly #h: Flux;
  readonly #rank: number;
  readonly #clock: Clock;
  #waiting: { R: Rset; sent: Promise<void> } | undefined;
  #stopped = false;

  constructor(h: Flux, rank: number, clock: Clock) {
    this.#h = h;
    this.#rank = rank;
    this.#clock = clock;
  }

  /** Resolves when rank 0 has it. */
  add(R: Rset): Promise<void> {
    if (this.#waiting !== undefined) {
      this.#waiting.R = this.#waiting.R.union(R);
      return this.#waiting.sent;
    }
    const waiting = { R, sent: Promise.resolve() };
    this.#waiting = waiting;
    waiting.sent = this.#clock.sleep(0).then(() => {
      this.#waiting = undefined;
      return this.#send(waiting.R);
    });
    return waiting.sent;
  }

  stop(): void {
    this.#stopped = true;
  }

  async #send(R: Rset): Promise<void> {
    const payload = { count: R.nnodes, resource: R.encode() };
    while (!this.#stopped) {
      try {
        await this.#h.rpc("resource.topo-reduce", payload, { upstreamOf: this.#rank });
        return;
      } catch (err) {
        if (!isErrno(err, errno.EHOSTUNREACH) && !isErrno(err, errno.ENOSYS)) throw err;
        await this.#clock.sleep(RETRY_MS);
      }
    }
  }
}
