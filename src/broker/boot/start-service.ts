// The service "start" of `flux start --test-size`: ends, starts and waits for single brokers, for tests of what an instance makes
// of that. Programs in the instance find it at the URI in FLUX_START_URI.
//
//   start.status → { procs: [{ pid }, …] }            pid -1: not running
//   start.kill   { rank, signum }                     ESRCH
//   start.wait   { rank } → { exit_rc }               answered when it has ended; EEXIST when somebody waits already
//   start.run    { rank }                             EEXIST when it runs
import { randomUUID } from "node:crypto";
import { DEFERRED, type Request } from "../../client/request.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { uint } from "../../message/unpack.ts";
import { getuid } from "../../os/credentials.ts";
import { writeStderr } from "../../os/stderr.ts";
import { OWNER_ONLY } from "../access.ts";
import { listenLocal } from "../connector-local.ts";
import { openInternal } from "../endpoints.ts";
import { parseTopology } from "../overlay/topology.ts";
import { Router } from "../router.ts";
import { serveService } from "../services/service.ts";

export interface StartedBrokers {
  readonly size: number;
  /** Undefined when it doesn't run. */
  pidOf(rank: number): number | undefined;
  kill(rank: number, signum: number): void;
  run(rank: number): void;
  /** Exit code of its last run, or 128 and the signal. */
  exitCodeOf(rank: number): number;
}

export interface StartService {
  /** A broker has ended. */
  ended(rank: number): void;
  close(): void;
}

export async function serveStart(path: string, brokers: StartedBrokers): Promise<StartService> {
  const owner = getuid();
  const router = new Router({ rank: 0, topology: parseTopology("kary:2", 1, undefined), owner, warn: () => undefined });
  const services = openInternal(router, owner, { name: "service", ownService: "service" }, randomUUID).handle;
  await serveService(services, router);
  const { handle } = openInternal(router, owner, { name: "start", ownService: "start" }, randomUUID);
  const waiting = new Map<number, Request>();

  const rankOf = (req: Request): number => {
    const { rank } = req.unpack({ rank: uint });
    if (rank >= brokers.size) throw new FluxError(errno.ESRCH, `there is no broker ${rank}`);
    return rank;
  };

  await handle.serve("start", {
    status: () => ({ procs: Array.from({ length: brokers.size }, (_, rank) => ({ pid: brokers.pidOf(rank) ?? -1 })) }),
    kill: (req) => {
      const rank = rankOf(req);
      if (brokers.pidOf(rank) === undefined) throw new FluxError(errno.ESRCH, `broker ${rank} is not running`);
      brokers.kill(rank, req.unpack({ signum: uint }).signum);
    },
    wait: (req) => {
      const rank = rankOf(req);
      if (brokers.pidOf(rank) === undefined) return { exit_rc: brokers.exitCodeOf(rank) };
      if (waiting.has(rank)) throw new FluxError(errno.EEXIST, `somebody waits for broker ${rank} already`);
      waiting.set(rank, req);
      req.onCancel(() => waiting.delete(rank));
      return DEFERRED;
    },
    run: (req) => {
      const rank = rankOf(req);
      if (brokers.pidOf(rank) !== undefined) throw new FluxError(errno.EEXIST, `broker ${rank} is running`);
      brokers.run(rank);
    },
  });
  const local = listenLocal({
    path,
    router,
    owner,
    newId: randomUUID,
    access: () => OWNER_ONLY,
    log: (_level, text) => writeStderr(`flux-start: ${text}\n`),
  });
  return {
    ended(rank) {
      waiting.get(rank)?.respond({ exit_rc: brokers.exitCodeOf(rank) });
      waiting.delete(rank);
    },
    close() {
      local.close();
      handle.close();
      services.close();
    },
  };
}
