// UsedServices: whom a client or module sent requests to, so that each of them is told when it goes ("SERVICE.disconnect", RFC 6).
import { FLAG_UPSTREAM, type Message, NODEID_ANY, requestMessage } from "../message/message.ts";
import type { Credentials } from "../message/roles.ts";

/** Distinct services that one client may have to be disconnected from. */
export const USED_MAX = 10_000;

export class UsedServices {
  /** A disconnect request for each. Key: service, nodeid, flags. */
  readonly #disconnects = new Map<string, Message>();
  /** Services that were asked without a rank: nearly every request is to one of them. */
  readonly #anywhere = new Set<string>();
  #overflowed = false;

  /** Returns true once when there are too many: from now on some will not be told. */
  remember(request: Message): boolean {
    const { service, nodeid } = request;
    const upstream = request.flags & FLAG_UPSTREAM;
    const anywhere = nodeid === NODEID_ANY && upstream === 0;
    if (anywhere && this.#anywhere.has(service)) return false;
    const key = `${service}/${nodeid}/${upstream}`;
    if (this.#disconnects.has(key)) return false;
    if (this.#disconnects.size >= USED_MAX) {
      const isNews = !this.#overflowed;
      this.#overflowed = true;
      return isNews;
    }
    const disconnect = requestMessage(`${service}.disconnect`, undefined, { nodeid, noResponse: true });
    disconnect.flags |= upstream;
    this.#disconnects.set(key, disconnect);
    if (anywhere) this.#anywhere.add(service);
    return false;
  }

  /** The requests to send when the client `id` has gone; its own services, `own`, need none. */
  disconnects(id: string, { userid, rolemask }: Credentials, own: ReadonlySet<string>): Message[] {
    const messages = [...this.#disconnects.values()].filter((message) => !own.has(message.service));
    for (const message of messages) {
      message.userid = userid;
      message.rolemask = rolemask;
      message.routes = [id];
    }
    return messages;
  }
}
