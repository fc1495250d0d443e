// A handle of the broker's own process on its router: modules and the broker's services each get one.
import { Flux, type Identity } from "../client/flux.ts";
import { type Message, MSG_EVENT, MSG_REQUEST, MSG_RESPONSE } from "../message/message.ts";
import { ROLE_LOCAL, ROLE_OWNER, USERID_UNKNOWN } from "../message/roles.ts";
import { memoryLinkPair } from "../transport/memory.ts";
import type { Router } from "./router.ts";

/** Messages that a handle sent (tx) and received (rx), by type, as "stats-get" of flux-module(1) shows them. */
export interface Traffic {
  readonly tx: MessageCounts;
  readonly rx: MessageCounts;
}

/** A type, not an interface: it is a JSON object too. */
export type MessageCounts = { request: number; response: number; event: number; control: number };

export function noTraffic(): Traffic {
  const none = { request: 0, response: 0, event: 0, control: 0 };
  return { tx: { ...none }, rx: { ...none } };
}

/** For a payload: the original goes on counting. */
export function copyTraffic({ tx, rx }: Traffic): { tx: MessageCounts; rx: MessageCounts } {
  return { tx: { ...tx }, rx: { ...rx } };
}

/** Adds a message to the counts. */
export function count(counts: MessageCounts, message: Message): void {
  if (message.type === MSG_REQUEST) counts.request++;
  else if (message.type === MSG_RESPONSE) counts.response++;
  else if (message.type === MSG_EVENT) counts.event++;
  else counts.control++;
}

export interface InternalEndpoint {
  /** Close it to remove it from the router. */
  readonly handle: Flux;
  readonly id: string;
  readonly traffic: Traffic;
  /** Resolves when the router has what the handle said before it was closed, and knows it no more. */
  readonly gone: Promise<void>;
}

/** Connects a new handle that acts as the instance owner. */
export function openInternal(router: Router, owner: number, identity: Identity, newId: () => string): InternalEndpoint {
  const [ours, theirs] = memoryLinkPair();
  const traffic = noTraffic();
  const gone = Promise.withResolvers<void>();
  const id = newId();
  const rolemask = ROLE_OWNER | ROLE_LOCAL;
  router.addEndpoint({
    id,
    name: identity.name,
    mayVanish: identity.ownService === undefined,
    module: identity.ownService === identity.name ? identity.name : undefined,
    userid: owner,
    rolemask,
    send(message) {
      count(traffic.rx, message);
      ours.send(message);
    },
    failed: () => router.removeEndpoint(id),
  });
  ours.start(
    (message) => {
      count(traffic.tx, message);
      if (message.userid === USERID_UNKNOWN) {
        message.userid = owner;
        message.rolemask = rolemask;
      }
      router.fromEndpoint(id, message);
    },
    () => {
      router.removeEndpoint(id);
      gone.resolve();
    },
  );
  const handle = new Flux(theirs, identity);
  if (identity.ownService !== undefined) router.addService(identity.ownService, id);
  return { handle, id, traffic, gone: gone.promise };
}
