// A handle of the broker's own process on its router: modules and the broker's services each get one.
import { Flux, type Identity } from "../client/flux.ts";
import { ROLE_LOCAL, ROLE_OWNER, USERID_UNKNOWN } from "../message/roles.ts";
import { memoryLinkPair } from "../transport/memory.ts";
import type { Router } from "./router.ts";

/** Connects a new handle that acts as the instance owner. Close it to remove it from the router. */
export function openInternal(router: Router, owner: number, identity: Identity, newId: () => string): { handle: Flux; id: string } {
  const [ours, theirs] = memoryLinkPair();
  const id = newId();
  const rolemask = ROLE_OWNER | ROLE_LOCAL;
  router.addEndpoint({
    id,
    name: identity.name,
    module: identity.ownService === identity.name ? identity.name : undefined,
    userid: owner,
    rolemask,
    send: (message) => ours.send(message),
    failed: () => router.removeEndpoint(id),
  });
  ours.start(
    (message) => {
      if (message.userid === USERID_UNKNOWN) {
        message.userid = owner;
        message.rolemask = rolemask;
      }
      router.fromEndpoint(id, message);
    },
    () => router.removeEndpoint(id),
  );
  const handle = new Flux(theirs, identity);
  if (identity.ownService !== undefined) router.addService(identity.ownService, id);
  return { handle, id };
}
