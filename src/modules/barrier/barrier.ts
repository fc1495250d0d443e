// Module barrier: processes that meet. A barrier has a name and a number of processes; each of them enters it and is
// answered when all have.
//
//   barrier.enter { name, nprocs, count?, internal?, from?, after? }    answered when `nprocs` have entered
//   event barrier.exit { name, errnum }
//
// Every rank counts those that enter on it and below it and passes the count up (internal: true) when nothing more
// came for a moment, or when it is complete; rank 0 publishes the exit when all are there. A client that goes away
// while it waits fails the barrier for everybody with ECONNABORTED, a broker that is lost with those who wait there
// (`from`) with EHOSTUNREACH. A count from before the last exit of the barrier, of which the rank below had not heard
// (`after`: the number of the last that it had), is refused by the number of that exit.
// EINVAL: nprocs differ; EEXIST: a client enters the same barrier twice.
import { defineModule } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { bool, def, int, str, uint, unpack } from "../../message/unpack.ts";
import type { Timer } from "../../os/clock.ts";

const BARRIERS_MAX = 10_000;
/** Those who enter within this time are counted upwards together. */
const COLLECT_MS = 1;

interface Barrier {
  readonly name: string;
  readonly nprocs: number;
  /** User who may enter. */
  readonly owner: number;
  /** Entered here and below. */
  count: number;
  /** Of these, not passed up yet. */
  unsent: number;
  /** Ranks right below from which some have entered. */
  readonly children: Set<number>;
  readonly waiting: Map<string, Request>;
  timer: Timer | undefined;
}

export default defineModule({
  name: "barrier",
  async start(h, { clock, rank, owner }) {
    const barriers = new Map<string, Barrier>();
    /** Barrier → number of the event of its last exit, the latest last. */
    const exits = new Map<string, number>();
    let lastExit = 0;
    let stopped = false;

    const exit = (name: string, errnum: number): void => {
      h.publish("barrier.exit", { name, errnum });
    };

    const get = (name: string, nprocs: number, userid: number): Barrier => {
      let barrier = barriers.get(name);
      if (barrier === undefined) {
        if (nprocs < 1) throw new FluxError(errno.EINVAL, "a barrier needs at least one process");
        if (barriers.size >= BARRIERS_MAX) throw new FluxError(errno.ENOBUFS, `too many barriers are open (limit ${BARRIERS_MAX})`);
        barriers.set(name, (barrier = { name, nprocs, owner: userid, count: 0, unsent: 0, children: new Set(), waiting: new Map(), timer: undefined }));
      }
      if (barrier.nprocs !== nprocs) throw new FluxError(errno.EINVAL, `barrier ${name} was entered with nprocs ${barrier.nprocs}, not ${nprocs}`);
      return barrier;
    };

    const add = (barrier: Barrier, count: number): void => {
      barrier.count += count;
      if (rank === 0) {
        if (barrier.count > barrier.nprocs) exit(barrier.name, errno.EOVERFLOW);
        else if (barrier.count === barrier.nprocs) exit(barrier.name, 0);
        return;
      }
      passUp(barrier, count);
    };

    const passUp = (barrier: Barrier, count: number): void => {
      barrier.unsent += count;
      barrier.timer ??= clock.setTimer(COLLECT_MS, () => sendUp(barrier));
    };

    const sendUp = (barrier: Barrier): void => {
      barrier.timer = undefined;
      if (barrier.unsent === 0 || barriers.get(barrier.name) !== barrier) return;
      const { name, nprocs, unsent: count } = barrier;
      barrier.unsent = 0;
      const counted = (answer: JsonObject): void => {
        const { exit: missed } = unpack(answer, { exit: def(uint, 0) });
        if (missed === 0) return;
        // The event comes before this answer, and has ended the barrier, unless it was published before we were here.
        lastExit = Math.max(lastExit, missed);
        if (barriers.get(name) === barrier) passUp(barrier, count);
      };
      h.rpc("barrier.enter", { name, nprocs, count, owner: barrier.owner, internal: true, from: rank, after: lastExit }, { upstreamOf: rank }).then(counted, (err: unknown) => {
        end(name, toFluxError(err).errno, toFluxError(err).message);
      });
    };

    const end = (name: string, errnum: number, text?: string): void => {
      const barrier = barriers.get(name);
      if (barrier === undefined) return;
      barriers.delete(name);
      clock.clear(barrier.timer);
      for (const request of barrier.waiting.values()) {
        if (errnum === 0) request.respond();
        else request.fail(new FluxError(errnum, text));
      }
    };

    /** Who waits below a broker that is gone will not come again. */
    const watchOverlay = async (): Promise<void> => {
      for await (const event of h.stream("overlay.monitor", {}, { nodeid: rank })) {
        const { rank: child, status } = unpack(event, { rank: uint, status: str });
        if (status !== "lost" && status !== "offline") continue;
        for (const { name, children } of barriers.values()) if (children.has(child)) exit(name, errno.EHOSTUNREACH);
      }
    };

    const noteExit = (name: string, sequence: number): void => {
      lastExit = sequence;
      exits.delete(name);
      exits.set(name, sequence);
      if (exits.size > BARRIERS_MAX) for (const oldest of exits.keys()) return void exits.delete(oldest);
    };

    await h.subscribe("barrier.exit", ({ payload, sequence }) => {
      const { name, errnum } = unpack(payload, { name: str, errnum: int });
      noteExit(name, sequence);
      end(name, errnum);
    });
    await h.serve("barrier", {
      enter: allowUser((req) => {
        const { name, nprocs, count, internal, owner: forUser, from, after } = req.unpack({
          name: str,
          nprocs: int,
          count: def(uint, 1),
          internal: def(bool, false),
          owner: def(int, owner),
          from: def(uint, rank),
          after: def(uint, lastExit),
        });
        if (internal) {
          // From the rank below; its answer only says that it was counted.
          if (!req.isOwner) throw new FluxError(errno.EPERM);
          const lastOfIt = exits.get(name) ?? 0;
          if (lastOfIt > after) return { exit: lastOfIt };
          const barrier = get(name, nprocs, forUser);
          if (barrier.owner !== forUser) throw new FluxError(errno.EPERM);
          barrier.children.add(from);
          add(barrier, count);
          return undefined;
        }
        const barrier = get(name, nprocs, req.userid);
        if (barrier.owner !== req.userid) throw new FluxError(errno.EPERM, `barrier ${name} belongs to another user`);
        if (barrier.waiting.has(req.sender)) throw new FluxError(errno.EEXIST, `this client is in barrier ${name} already`);
        barrier.waiting.set(req.sender, req);
        req.onCancel(() => {
          if (barriers.get(name) !== barrier) return;
          barrier.waiting.delete(req.sender);
          exit(name, errno.ECONNABORTED);
        });
        add(barrier, count);
        return DEFERRED;
      }),
    });
    watchOverlay().catch((err: unknown) => {
      // Without an overlay there is nobody to lose; and in the end it goes before us.
      if (!stopped && !isErrno(err, errno.ENOSYS)) h.log(3, `overlay.monitor: ${toFluxError(err).message}`);
    });
    return {
      stats: () => ({ barriers: barriers.size }),
      stop() {
        stopped = true;
        for (const name of [...barriers.keys()]) end(name, errno.ENOSYS);
      },
    };
  },
});
