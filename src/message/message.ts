// Message: the one thing that components of Flux exchange (RFC 3).
//
// There are four kinds. A *request* names a service method by its topic ("kvs.lookup") and is answered by
// *responses* that return along the request's route stack. An *event* is published to every rank. A *control*
// message passes between two neighbouring brokers only.
//
// The payload is a JSON object or plain bytes. It is converted from one to the other lazily and at most once, so
// that a message between two modules of one broker is never encoded. Receivers treat it as frozen; with
// FLUX_FREEZE_PAYLOADS set (the tests do) it really is.
import { decodeJsonObject, encodeJson, type JsonObject } from "../formats/json.ts";
import { errno, FluxError, toFluxError } from "./errno.ts";
import { ROLE_NONE, USERID_UNKNOWN } from "./roles.ts";

export const MSG_REQUEST = 1;
export const MSG_RESPONSE = 2;
export const MSG_EVENT = 4;
export const MSG_CONTROL = 8;
export type MessageType = typeof MSG_REQUEST | typeof MSG_RESPONSE | typeof MSG_EVENT | typeof MSG_CONTROL;

/** Header flags (RFC 3). */
export const FLAG_TOPIC = 0x01;
export const FLAG_PAYLOAD = 0x02;
export const FLAG_NORESPONSE = 0x04;
export const FLAG_ROUTE = 0x08;
export const FLAG_UPSTREAM = 0x10;
export const FLAG_PRIVATE = 0x20;
export const FLAG_STREAMING = 0x40;
export const FLAG_USER1 = 0x80;

/** Request to whichever broker on the way to rank 0 has the service. */
export const NODEID_ANY = 0xffffffff;
export const MATCHTAG_NONE = 0;

const freezePayloads = process.env["FLUX_FREEZE_PAYLOADS"] !== undefined;

export class Message {
  userid: number = USERID_UNKNOWN;
  rolemask: number = ROLE_NONE;
  /** Return path of a request or response, most recent hop last. Undefined in events and control messages. */
  routes: string[] | undefined;

  /** Payload as an object, when known. */
  #object: JsonObject | undefined;
  /** Payload as bytes, when known. A JSON payload's bytes end in NUL. */
  #bytes: Uint8Array | undefined;

  /**
   * Use the functions below rather than this constructor.
   * `aux1` is the nodeid, errnum, sequence or control type; `aux2` the matchtag or control status.
   */
  constructor(
    readonly type: MessageType,
    public flags: number,
    readonly topic: string | undefined,
    public aux1: number,
    public aux2: number,
    object: JsonObject | undefined,
    bytes: Uint8Array | undefined,
  ) {
    this.#object = object;
    this.#bytes = bytes;
    this.routes = type === MSG_REQUEST || type === MSG_RESPONSE ? [] : undefined;
    if (freezePayloads && object !== undefined) deepFreeze(object);
  }

  /** Destination rank of a request, or NODEID_ANY; the sender's own rank with FLAG_UPSTREAM. */
  get nodeid(): number {
    return this.aux1;
  }

  /** Error number of a response; 0 is success. */
  get errnum(): number {
    return this.aux1;
  }

  /** Sequence number of an event. */
  get sequence(): number {
    return this.aux1;
  }

  get matchtag(): number {
    return this.aux2;
  }

  get isStreaming(): boolean {
    return (this.flags & FLAG_STREAMING) !== 0;
  }

  get wantsResponse(): boolean {
    return (this.flags & FLAG_NORESPONSE) === 0;
  }

  get isPrivate(): boolean {
    return (this.flags & FLAG_PRIVATE) !== 0;
  }

  get hasPayload(): boolean {
    return this.#object !== undefined || this.#bytes !== undefined;
  }

  /**
   * The payload as an object, {} when there is none.
   * Throws FluxError EPROTO when the bytes are not one JSON object.
   */
  get payload(): JsonObject {
    if (this.#object !== undefined) return this.#object;
    if (this.#bytes === undefined) return EMPTY;
    this.#object = parsePayload(this.#bytes);
    if (freezePayloads) deepFreeze(this.#object);
    return this.#object;
  }

  /** The payload as bytes (a JSON object's text ends in NUL); undefined when there is none. Do not change them. */
  get bytes(): Uint8Array | undefined {
    if (this.#bytes === undefined && this.#object !== undefined) {
      this.#bytes = encodePayload(this.#object);
    }
    return this.#bytes;
  }

  /** The payload as text without its final NUL, as error responses and log messages carry it. */
  get text(): string | undefined {
    const bytes = this.bytes;
    if (bytes === undefined) return undefined;
    const end = bytes.length > 0 && bytes[bytes.length - 1] === 0 ? bytes.length - 1 : bytes.length;
    return Buffer.from(bytes.buffer, bytes.byteOffset, end).toString("utf8");
  }

  /** The service that a topic addresses: "kvs" of "kvs.lookup". */
  get service(): string {
    return serviceOf(this.topic ?? "");
  }

  /** The method of the service: "lookup" of "kvs.lookup"; "" when the topic has one word. */
  get method(): string {
    return methodOf(this.topic ?? "");
  }

  /** Who first sent a request: the oldest route, one per client or module of the instance. */
  get sender(): string {
    return this.routes?.[0] ?? "";
  }

  /** A copy with a route stack of its own that shares the payload. */
  clone(): Message {
    const copy = new Message(this.type, this.flags, this.topic, this.aux1, this.aux2, this.#object, this.#bytes);
    copy.userid = this.userid;
    copy.rolemask = this.rolemask;
    copy.routes = this.routes?.slice();
    return copy;
  }
}

/** An object as a payload's bytes: for one that goes into several messages. */
export function encodePayload(object: JsonObject): Uint8Array {
  return Buffer.from(`${encodeJson(object)}\0`);
}

export interface RequestOptions {
  /** Destination rank; default NODEID_ANY. */
  readonly nodeid?: number;
  /** The sender's own rank: the request goes to the nearest such service above it. */
  readonly upstreamOf?: number;
  readonly matchtag?: number;
  readonly streaming?: boolean;
  readonly noResponse?: boolean;
}

/** A request; `payload` is an object, bytes, or undefined for none. */
export function requestMessage(
  topic: string,
  payload: JsonObject | Uint8Array | undefined,
  options: RequestOptions = {},
): Message {
  let flags = FLAG_TOPIC | FLAG_ROUTE;
  if (payload !== undefined) flags |= FLAG_PAYLOAD;
  if (options.streaming) flags |= FLAG_STREAMING;
  if (options.noResponse) flags |= FLAG_NORESPONSE;
  if (options.upstreamOf !== undefined) flags |= FLAG_UPSTREAM;
  const nodeid = options.upstreamOf ?? options.nodeid ?? NODEID_ANY;
  return build(MSG_REQUEST, flags, topic, nodeid, options.matchtag ?? MATCHTAG_NONE, payload);
}

/** The response to `request`: its topic, matchtag and routes. `errnum` 0 is success. */
export function responseMessage(
  request: Message,
  payload: JsonObject | Uint8Array | undefined,
  errnum: number = 0,
): Message {
  let flags = FLAG_TOPIC | FLAG_ROUTE | (request.flags & FLAG_STREAMING);
  if (payload !== undefined) flags |= FLAG_PAYLOAD;
  const response = build(MSG_RESPONSE, flags, request.topic, errnum, request.matchtag, payload);
  response.routes = request.routes?.slice() ?? [];
  return response;
}

/** An error response; the text is sent only when it says more than strerror(errnum). */
export function errorResponse(request: Message, error: FluxError): Message {
  const text = error.hasText ? Buffer.from(`${error.message}\0`) : undefined;
  return responseMessage(request, text, error.errno);
}

/** An event, not yet sequenced (rank 0 does that). */
export function eventMessage(
  topic: string,
  payload: JsonObject | Uint8Array | undefined,
  options: { readonly private?: boolean; readonly sequence?: number } = {},
): Message {
  let flags = FLAG_TOPIC;
  if (payload !== undefined) flags |= FLAG_PAYLOAD;
  if (options.private) flags |= FLAG_PRIVATE;
  return build(MSG_EVENT, flags, topic, options.sequence ?? 0, 0, payload);
}

/** A control message between two neighbouring brokers. */
export function controlMessage(type: number, status: number): Message {
  return build(MSG_CONTROL, 0, undefined, type, status, undefined);
}

interface TopicWords {
  readonly service: string;
  readonly method: string;
}

/** Topics that were taken apart before: every request is asked for its words several times on its way. */
const topics = new Map<string, TopicWords>();
const TOPICS_MAX = 2000;
const TOPIC_LENGTH_MAX = 80;

function wordsOf(topic: string): TopicWords {
  const known = topics.get(topic);
  if (known !== undefined) return known;
  const dot = topic.indexOf(".");
  const words = dot < 0 ? { service: topic, method: "" } : { service: topic.slice(0, dot), method: topic.slice(dot + 1) };
  if (topic.length > TOPIC_LENGTH_MAX) return words;
  if (topics.size >= TOPICS_MAX) topics.clear();
  topics.set(topic, words);
  return words;
}

/** "kvs" of "kvs.lookup". */
export function serviceOf(topic: string): string {
  return wordsOf(topic).service;
}

/** "lookup" of "kvs.lookup". */
export function methodOf(topic: string): string {
  return wordsOf(topic).method;
}

/** The error that a response carries, or undefined when it is a success. */
export function responseError(response: Message): FluxError | undefined {
  if (response.errnum === 0) return undefined;
  return new FluxError(response.errnum, response.hasPayload ? response.text : undefined);
}

const EMPTY: JsonObject = Object.freeze({});

function build(
  type: MessageType,
  flags: number,
  topic: string | undefined,
  aux1: number,
  aux2: number,
  payload: JsonObject | Uint8Array | undefined,
): Message {
  if (payload instanceof Uint8Array) return new Message(type, flags, topic, aux1, aux2, undefined, payload);
  return new Message(type, flags, topic, aux1, aux2, payload, undefined);
}

function parsePayload(bytes: Uint8Array): JsonObject {
  const end = bytes.length > 0 && bytes[bytes.length - 1] === 0 ? bytes.length - 1 : bytes.length;
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, end).toString("utf8");
  try {
    return decodeJsonObject(text);
  } catch (err) {
    throw new FluxError(errno.EPROTO, `malformed message payload: ${toFluxError(err).message}`);
  }
}

function deepFreeze(value: unknown): void {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const item of Object.values(value)) deepFreeze(item);
}
