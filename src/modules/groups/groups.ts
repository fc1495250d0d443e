// The "groups" module: named sets of broker ranks, gathered up the tree, so that rank 0 knows the whole set.
// "broker.online" are the brokers that have joined the instance, "broker.torpid" those that have gone quiet.
//
//   groups.join   { name }          this broker joins; it leaves again when the requester disconnects. EEXIST
//   groups.leave  { name }          ENOENT
//   groups.get    { name } → { members }     rank 0; as a stream, each change
//   groups.update { update: { NAME: [{ ranks, set }] } }     from a broker below; no answer
//
// Changes are gathered for a moment before they go up, so that many brokers starting together are a few messages.
import { defineModule } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { IdSet } from "../../formats/idset.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { arr, bool, dict, fields, obj, str, uint, unpack } from "../../message/unpack.ts";

const BATCH_MS = 2;
const GROUPS_MAX = 10_000;

interface Group {
  readonly members: IdSet;
  /** Who made this broker join. */
  joinedBy: string | undefined;
  readonly watchers: Set<Request>;
}

interface Change {
  readonly ranks: string;
  readonly set: boolean;
}

const changesReader = dict(arr(fields({ ranks: str, set: bool })));

export default defineModule({
  name: "groups",
  async start(h, { rank, clock }) {
    const groups = new Map<string, Group>();
    let batch = new Map<string, Change[]>();
    let scheduled = false;
    let stopped = false;
    const torpid = new IdSet();
    let topology: JsonObject = { rank, size: 1, children: [] };

    const lookup = (name: string): Group => {
      let group = groups.get(name);
      if (group === undefined) {
        if (groups.size >= GROUPS_MAX) throw new FluxError(errno.ENOBUFS, `there are ${GROUPS_MAX} groups already`);
        groups.set(name, (group = { members: new IdSet(), joinedBy: undefined, watchers: new Set() }));
      }
      return group;
    };

    /** Forgets a group that says nothing any more: names come from users, and there is room for GROUPS_MAX of them. */
    const dropEmpty = (name: string): void => {
      const group = groups.get(name);
      if (group === undefined || batch.has(name)) return;
      if (group.members.isEmpty && group.watchers.size === 0 && group.joinedBy === undefined) groups.delete(name);
    };

    const append = (name: string, changes: readonly Change[]): void => {
      batch.set(name, reduce([...(batch.get(name) ?? []), ...changes]));
      if (scheduled) return;
      scheduled = true;
      clock.setTimer(BATCH_MS, flush);
    };

    const flush = (): void => {
      scheduled = false;
      if (batch.size === 0 || stopped) return;
      const changes = batch;
      batch = new Map();
      if (rank > 0) h.notify("groups.update", { update: toJson(changes) }, { upstreamOf: rank });
      for (const [name, list] of changes) apply(name, list);
    };

    const apply = (name: string, changes: readonly Change[]): void => {
      const group = lookup(name);
      for (const { ranks, set } of changes) {
        for (const id of IdSet.parse(ranks)) {
          if (set) group.members.add(id);
          else group.members.remove(id);
        }
      }
      for (const req of group.watchers) req.respond({ members: group.members.toString() });
      dropEmpty(name);
    };

    const disconnect = (sender: string): void => {
      for (const [name, group] of groups) {
        if (group.joinedBy !== sender) continue;
        group.joinedBy = undefined;
        append(name, [{ ranks: String(rank), set: false }]);
      }
    };

    /** A child's subtree came or went. */
    const subtreeChanged = (child: number, status: string, isTorpid: boolean): void => {
      flush();
      const ids = subtreeRanks(topology, child);
      if (status === "lost" || status === "offline") {
        for (const [name, group] of groups) {
          const gone = group.members.intersect(ids);
          if (!gone.isEmpty) append(name, [{ ranks: gone.toString(), set: false }]);
        }
      } else if (isTorpid !== torpid.has(child)) {
        if (isTorpid) torpid.add(child);
        else torpid.remove(child);
        append("broker.torpid", [{ ranks: String(child), set: isTorpid }]);
      }
    };

    const watchOverlay = async (): Promise<void> => {
      try {
        topology = await h.rpc("overlay.topology", { rank }, { nodeid: rank });
        for await (const event of h.stream("overlay.monitor", {}, { nodeid: rank })) {
          const change = unpack(event, { rank: uint, status: str, torpid: bool });
          subtreeChanged(change.rank, change.status, change.torpid);
        }
      } catch (err) {
        // Without an overlay there are no subtrees to lose; and in the end it goes before us.
        if (!stopped && !isErrno(err, errno.ENOSYS)) h.log(3, `overlay.monitor: ${toFluxError(err).message}`);
      }
    };

    await h.serve("groups", {
      join(req) {
        const group = lookup(req.unpack({ name: str }).name);
        if (group.joinedBy !== undefined) throw new FluxError(errno.EEXIST, "this broker has joined the group already");
        group.joinedBy = req.sender;
        append(req.unpack({ name: str }).name, [{ ranks: String(rank), set: true }]);
      },
      leave(req) {
        const { name } = req.unpack({ name: str });
        const group = groups.get(name);
        if (group?.joinedBy === undefined) throw new FluxError(errno.ENOENT, "this broker is not in the group");
        group.joinedBy = undefined;
        append(name, [{ ranks: String(rank), set: false }]);
      },
      get: allowUser((req) => {
        if (rank !== 0) throw new FluxError(errno.EPROTO, "groups.get is only available on rank 0");
        const { name } = req.unpack({ name: str });
        req.respond({ members: groups.get(name)?.members.toString() ?? "" });
        if (!req.isOpen) return DEFERRED;
        const group = lookup(name);
        group.watchers.add(req);
        req.onCancel(() => {
          group.watchers.delete(req);
          dropEmpty(name);
        });
        return DEFERRED;
      }),
      update(req) {
        for (const [name, changes] of Object.entries(changesReader(req.unpack({ update: obj }).update, "update"))) append(name, changes);
      },
      disconnect: (req) => disconnect(req.sender),
    });
    void watchOverlay();
    return {
      stop() {
        flush();
        stopped = true;
      },
      stats: () => ({ subtree: Object.fromEntries([...groups].map(([name, group]) => [name, group.members.toString()])) }),
    };
  },
});

/** Changes of one group that say the same thing become one. */
function reduce(changes: Change[]): Change[] {
  const [first] = changes;
  if (first === undefined || changes.length < 2 || changes.some((change) => change.set !== first.set)) return changes;
  const ranks = new IdSet();
  for (const change of changes) for (const id of IdSet.parse(change.ranks)) ranks.add(id);
  return [{ ranks: ranks.toString(), set: first.set }];
}

function toJson(changes: Map<string, Change[]>): JsonObject {
  return Object.fromEntries([...changes].map(([name, list]) => [name, list.map((change) => ({ ...change }))]));
}

function subtreeRanks(topology: JsonObject, rank: number): IdSet {
  const ids = new IdSet();
  const walk = (node: JsonObject, inside: boolean): void => {
    const { rank: at, children } = unpack(node, { rank: uint, children: arr(obj) });
    const here = inside || at === rank;
    if (here) ids.add(at);
    for (const child of children) walk(child, here);
  };
  walk(topology, false);
  return ids;
}
