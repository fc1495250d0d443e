// RpcTracker: the requests that went out over one broker-to-broker link and are not answered yet, so that each gets
// an error response when the link breaks instead of waiting for ever.
import { FLAG_NORESPONSE, Message, methodOf } from "../message/message.ts";

/** Requests tracked per link; beyond it, requests still pass but could hang if the link breaks. */
const TRACKED_MAX = 500_000;

export class RpcTracker {
  #open = new Map<string, Message>();

  get size(): number {
    return this.#open.size;
  }

  /** `request` is about to leave, its routes as they will be on the link. Returns false at the bound. */
  sent(request: Message): boolean {
    if (methodOf(request.topic ?? "") === "disconnect") this.#dropSender(request.sender);
    if ((request.flags & FLAG_NORESPONSE) !== 0) return true;
    if (this.#open.size >= TRACKED_MAX) return false;
    this.#open.set(keyOf(request), withoutPayload(request));
    return true;
  }

  /** `response` came in, its routes still whole. */
  answered(response: Message): void {
    if (response.isStreaming && response.errnum === 0) return;
    this.#open.delete(keyOf(response));
  }

  /** The link broke: what was open, forgotten here. */
  takeAll(): Message[] {
    const open = [...this.#open.values()];
    this.#open.clear();
    return open;
  }

  #dropSender(sender: string): void {
    for (const [key, request] of this.#open) {
      if (request.sender === sender) this.#open.delete(key);
    }
  }
}

function keyOf(message: Message): string {
  return `${message.matchtag}/${message.routes?.join("!") ?? ""}`;
}

function withoutPayload(request: Message): Message {
  const copy = new Message(request.type, request.flags, request.topic, request.aux1, request.aux2, undefined, undefined);
  copy.userid = request.userid;
  copy.rolemask = request.rolemask;
  copy.routes = request.routes?.slice();
  return copy;
}
