// Request: what a service method is given, and how it answers (RFC 6).
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { errorResponse, type Message, responseMessage } from "../message/message.ts";
import { isOwner, isPrivileged, requireOwnerOrUser } from "../message/roles.ts";
import { type Reader, unpack } from "../message/unpack.ts";

/** Returned by a method that keeps the request and answers it later with respond() or fail(). */
export const DEFERRED = Symbol("deferred");

export class Request {
  #open: boolean;
  #onCancel: (() => void) | undefined;

  constructor(
    readonly message: Message,
    readonly send: (response: Message) => void,
    readonly ended: (request: Request) => void,
  ) {
    this.#open = true;
  }

  get topic(): string {
    return this.message.topic ?? "";
  }

  /** The payload object, {} when there is none; FluxError EPROTO when it isn't one. */
  get payload(): JsonObject {
    return this.message.payload;
  }

  /** The payload's bytes, for services that take raw data; undefined when there is none. */
  get bytes(): Uint8Array | undefined {
    return this.message.bytes;
  }

  get userid(): number {
    return this.message.userid;
  }

  get rolemask(): number {
    return this.message.rolemask;
  }

  get isOwner(): boolean {
    return isOwner(this.message);
  }

  /** The owner or an administrator. */
  get isPrivileged(): boolean {
    return isPrivileged(this.message);
  }

  /** Identity of the client or module that sent this: unique in the instance. */
  get sender(): string {
    return this.message.sender;
  }

  get matchtag(): number {
    return this.message.matchtag;
  }

  get isStreaming(): boolean {
    return this.message.isStreaming;
  }

  /** False once the last response was sent, or the sender is gone. */
  get isOpen(): boolean {
    return this.#open;
  }

  /** The payload's fields, checked: see src/message/unpack.ts. */
  unpack<S extends Record<string, Reader<unknown>>>(spec: S): { [K in keyof S]: S[K] extends Reader<infer T> ? T : never } {
    return unpack(this.payload, spec);
  }

  /** Throws EPERM unless the sender is the instance owner or `userid`. */
  requireOwnerOrUser(userid: number): void {
    requireOwnerOrUser(this.message, userid);
  }

  /** Throws EPROTO unless the request asked for a stream of responses. */
  requireStreaming(): void {
    if (!this.isStreaming) throw new FluxError(errno.EPROTO, "this request must have the streaming flag");
  }

  /** One response. It is the last unless the request is streaming. Without effect once the request has ended. */
  respond(payload?: JsonObject | Uint8Array): void {
    if (!this.#open) return;
    if (this.message.wantsResponse) this.send(responseMessage(this.message, payload));
    if (!this.isStreaming) this.#end();
  }

  /** The error response that ends the request. ENODATA is the ordinary end of a stream. */
  fail(reason: unknown): void {
    if (!this.#open) return;
    if (this.message.wantsResponse) this.send(errorResponse(this.message, toFluxError(reason)));
    this.#end();
  }

  /** Ends a stream in the ordinary way (ENODATA). */
  finish(): void {
    this.fail(new FluxError(errno.ENODATA));
  }

  /** `fn` runs once if the sender cancels this request or disconnects while it is open. */
  onCancel(fn: () => void): void {
    this.#onCancel = fn;
  }

  /** The sender cancelled (answered by ENODATA) or is gone (`respond` false). For the handle's use. */
  cancel(respond: boolean): void {
    if (!this.#open) return;
    const onCancel = this.#onCancel;
    this.#onCancel = undefined;
    onCancel?.();
    if (!this.#open) return;
    if (respond) this.finish();
    else this.#end();
  }

  /** There is no room to keep this request: what its method began for it is undone, and it fails. For the handle's use. */
  abort(reason: unknown): void {
    const onCancel = this.#onCancel;
    this.#onCancel = undefined;
    if (this.#open) onCancel?.();
    this.fail(reason);
  }

  #end(): void {
    this.#open = false;
    this.#onCancel = undefined;
    this.ended(this);
  }
}
