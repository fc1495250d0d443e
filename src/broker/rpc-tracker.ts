// RpcTracker: the requests that went out over one broker-to-broker link and are not answered yet, so that each gets
// an error response when the link breaks instead of waiting for ever.
import { FLAG_NORESPONSE, Message, methodOf } from "../message/message.ts";

/** Requests tracked per link; beyond it, requests still pass but could hang if the link breaks. */
const TRACKED_MAX = 500_000;

export class RpcTracker {
  #open = new Map<string, Message>();
  /** Keys of #open by who asked. */
  readonly #bySender = new Map<string, Set<string>>();

  get size(): number {
    return this.#open.size;
  }

  /** `request` is about to leave, its routes as they will be on the link. Returns false at the bound. */
  sent(request: Message): boolean {
    if (methodOf(request.topic ?? "") === "disconnect") this.#dropSender(request.sender);
    if ((request.flags & FLAG_NORESPONSE) !== 0) return true;
    if (this.#open.size >= TRACKED_MAX) return false;
    const key = keyOf(request);
    this.#open.set(key, withoutPayload(request));
    let keys = this.#bySender.get(request.sender);
    if (keys === undefined) this.#bySender.set(request.sender, (keys = new Set()));
    keys.add(key);
    return true;
  }

  /** `response` came in, its routes still whole. */
  answered(response: Message): void {
    if (response.isStreaming && response.errnum === 0) return;
    const key = keyOf(response);
    if (!this.#open.delete(key)) return;
    const keys = this.#bySender.get(response.sender);
    keys?.delete(key);
    if (keys?.size === 0) this.#bySender.delete(response.sender);
  }

  /** The link broke: what was open, forgotten here. */
  takeAll(): Message[] {
    const open = [...this.#open.values()];
    this.#open.clear();
    this.#bySender.clear();
    return open;
  }

  #dropSender(sender: string): void {
    for (const key of this.#bySender.get(sender) ?? []) this.#open.delete(key);
    this.#bySender.delete(sender);
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
