// The "event" service: publish (rank 0), subscribe and unsubscribe (on the subscriber's own broker).
//
//   event.publish     { topic, flags, payload? base64 } → { seq }    flags: 0 or FLAG_PRIVATE
//   event.subscribe   { topic prefix }
//   event.unsubscribe { topic prefix }
import type { Flux } from "../../client/flux.ts";
import type { Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { eventMessage, FLAG_PRIVATE } from "../../message/message.ts";
import { opt, str, uint } from "../../message/unpack.ts";
import type { Router } from "../router.ts";
import { localEndpoint } from "./local-endpoint.ts";

export async function serveEvent(h: Flux, router: Router): Promise<void> {
  await h.serve("event", {
    publish: allowUser((req) => ({ seq: publish(router, req) })),
    subscribe: allowUser((req) => router.subscribe(localEndpoint(req), req.unpack({ topic: str }).topic)),
    unsubscribe: allowUser((req) => router.unsubscribe(localEndpoint(req), req.unpack({ topic: str }).topic)),
  });
}

function publish(router: Router, req: Request): number {
  if (router.rank !== 0) throw new FluxError(errno.EPROTO, "this service is only available on rank 0");
  const { topic, flags, payload } = req.unpack({ topic: str, flags: uint, payload: opt(str) });
  if ((flags & ~FLAG_PRIVATE) !== 0) throw new FluxError(errno.EPROTO, `event flags ${flags} are not allowed`);
  if (topic === "") throw new FluxError(errno.EPROTO, "an event needs a topic");
  const bytes = payload === undefined ? undefined : Buffer.from(payload, "base64");
  const event = eventMessage(topic, bytes, { private: (flags & FLAG_PRIVATE) !== 0 });
  event.userid = req.userid;
  event.rolemask = req.rolemask;
  return router.publish(event);
}
