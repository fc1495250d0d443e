// The "overlay" service: how the tree looks from this broker (flux-overlay(1)).
//
//   overlay.health             → { rank, status, duration, children: [{ rank, status, duration, error? }] }, also as a stream
//   overlay.topology { rank }  → { rank, size, children: [the same] }
//   overlay.monitor            a stream of { rank, status, torpid }, one for each child that changes
//   overlay.disconnect-subtree { rank }
//   overlay.disconnect-parent  { reason }, which ends this broker and all below it
//   overlay.trace              see trace.ts
//   overlay.stats-get
import type { Flux } from "../../client/flux.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { str, uint } from "../../message/unpack.ts";
import type { Clock } from "../../os/clock.ts";
import { type Child, isOnline } from "../overlay/children.ts";
import type { Overlay } from "../overlay/overlay.ts";
import type { Router } from "../router.ts";
import type { Tracer } from "../trace.ts";
import { childrenOf, descendantsOf, type Topology } from "../overlay/topology.ts";

export interface OverlayService {
  childChanged(child: Child): void;
  statusChanged(): void;
}

export async function serveOverlay(h: Flux, router: Router, overlay: Overlay, topology: Topology, rank: number, clock: Clock, tracer: Tracer): Promise<OverlayService> {
  const healthStreams = new Set<Request>();
  const monitors = new Set<Request>();
  const keep = (set: Set<Request>, req: Request): void => {
    set.add(req);
    req.onCancel(() => set.delete(req));
  };
  const health = (): JsonObject => ({
    rank,
    status: overlay.status,
    duration: (clock.monotonic_ms() - overlay.statusSince_ms) / 1000,
    children: [...iterate(overlay)].map((child) => ({
      rank: child.rank,
      status: child.status,
      duration: (clock.monotonic_ms() - child.since_ms) / 1000,
      ...(!isOnline(child) && child.error !== undefined && { error: child.error }),
    })),
  });
  await h.serve("overlay", {
    health: allowUser((req) => {
      req.respond(health());
      if (req.isOpen) keep(healthStreams, req);
      return DEFERRED;
    }),
    topology: allowUser((req) => {
      const wanted = req.unpack({ rank: uint }).rank;
      if (wanted !== rank && !childrenOf(topology, rank).includes(wanted)) {
        throw new FluxError(errno.ENOENT, "requested rank is not this broker or its direct child");
      }
      return subtree(topology, wanted);
    }),
    monitor: (req) => {
      req.requireStreaming();
      for (const child of iterate(overlay)) if (child.status !== "offline" || child.torpid) req.respond(monitored(child));
      keep(monitors, req);
      return DEFERRED;
    },
    trace: (req) => {
      tracer.add("overlay", req);
      return DEFERRED;
    },
    "disconnect-parent": (req) => overlay.disconnectParent(req.unpack({ reason: str }).reason),
    "disconnect-subtree": (req) => overlay.disconnectChild(req.unpack({ rank: uint }).rank),
    "stats-get": allowUser(() => ({
      "child-count": overlay.children.count,
      "child-connected": overlay.children.onlineCount,
      "parent-count": overlay.isConnectedToParent ? 1 : 0,
      "parent-rpc": router.openRequests("parent"),
      "child-rpc": router.openRequests("children"),
      interthread: { sendq: 0, recvq: 0 },
    })),
  });
  return {
    childChanged(child) {
      for (const req of monitors) req.respond(monitored(child));
      for (const req of healthStreams) req.respond(health());
    },
    statusChanged() {
      for (const req of healthStreams) req.respond(health());
    },
  };
}

function* iterate(overlay: Overlay): Generator<Child> {
  for (const child of { [Symbol.iterator]: () => overlay.children[Symbol.iterator]() }) yield child;
}

function monitored(child: Child): JsonObject {
  return { rank: child.rank, status: child.status, torpid: child.torpid };
}

function subtree(topology: Topology, rank: number): JsonObject {
  return {
    rank,
    size: descendantsOf(topology, rank).length + 1,
    children: childrenOf(topology, rank).map((child) => subtree(topology, child)),
  };
}
