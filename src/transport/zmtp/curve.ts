// CURVE (ZeroMQ RFC 26 and RFC 37's security-curve): the handshake HELLO, WELCOME, INITIATE, READY between long-term keys
// C (client) and S (server) that agrees on short-term keys C' and S', and MESSAGE, one box a part, between the latter.
//
//   HELLO     version 1.0, 72 zeros, C', nonce, box[64 zeros](C'→S)
//   WELCOME   nonce, box[S', cookie](S→C'),  cookie = nonce, secretbox[C', s'](K)
//   INITIATE  cookie, nonce, box[C, vouch, metadata](C'→S'),  vouch = nonce, box[C', S](C→S')
//   READY     nonce, box[metadata](S'→C')
//   MESSAGE   nonce, box[flags, part](between C' and S'); flags: MORE 1, COMMAND 2; in an ordinary frame without COMMAND
//
// Each direction has one nonce counter for the whole connection. Gaps are accepted, repeats are not. The lower-case
// letter is the secret of a key: s' belongs to S'.
import { errno, FluxError } from "../../message/errno.ts";
import { BOX_TAG_SIZE, NONCE_SIZE, type CryptoBox } from "./box.ts";
import { encodeCommand, encodeMetadata, parseMetadata, type Command, type Metadata } from "./command.ts";
import { FRAME_COMMAND, FRAME_HEADER_MAX, FRAME_MORE, readU64, writeFrameHeader, writeU64 } from "./frame.ts";
import { encodeZ85, generateKeypair, type Keypair, type RandomBytes } from "./keypair.ts";
import type { HandshakeStep, Opened, Security } from "./security.ts";
import { KEY_SIZE } from "./x25519.ts";

const SHORT_NONCE_SIZE = 8;
const LONG_NONCE_SIZE = 16;
const COUNTER_MAX = Number.MAX_SAFE_INTEGER;
const HELLO_SIZE = 2 + 72 + KEY_SIZE + SHORT_NONCE_SIZE + 64 + BOX_TAG_SIZE;
const COOKIE_SIZE = LONG_NONCE_SIZE + 2 * KEY_SIZE + BOX_TAG_SIZE;
const WELCOME_SIZE = LONG_NONCE_SIZE + KEY_SIZE + COOKIE_SIZE + BOX_TAG_SIZE;
const VOUCH_SIZE = LONG_NONCE_SIZE + 2 * KEY_SIZE + BOX_TAG_SIZE;
const INITIATE_MIN_SIZE = COOKIE_SIZE + SHORT_NONCE_SIZE + KEY_SIZE + VOUCH_SIZE + BOX_TAG_SIZE;
/** "\x07MESSAGE" and the short nonce come before the box, the flags are its first byte. */
const MESSAGE_NAME = Buffer.from("\x07MESSAGE", "latin1");
const MESSAGE_BOX_OFFSET = MESSAGE_NAME.length + SHORT_NONCE_SIZE;
const MESSAGE_OVERHEAD = MESSAGE_BOX_OFFSET + BOX_TAG_SIZE + 1;
const PART_MORE = 1;
const PART_COMMAND = 2;

export interface CurveServerOptions {
  serverKey: Keypair;
  local: Metadata;
  randomBytes: RandomBytes;
  /** Whether the client with this long-term key is welcome. Called once the client has proved that it holds the key. */
  authorize(publicKeyZ85: string): boolean;
}

export interface CurveClientOptions {
  keypair: Keypair;
  serverPublicKey: Uint8Array;
  local: Metadata;
  randomBytes: RandomBytes;
}

/** The server's side of one connection. */
export function curveServer(box: CryptoBox, options: CurveServerOptions): Security {
  const { serverKey, randomBytes } = options;
  const session = createSession("CurveZMQMESSAGES", "CurveZMQMESSAGEC");
  let state: "hello" | "initiate" | "ready" = "hello";
  /** C' of HELLO, and the key that opens our own cookie: forgotten once the cookie has come back. */
  let clientShortKey = new Uint8Array(0);
  let cookieKey: Uint8Array | undefined;

  function hello(data: Uint8Array): HandshakeStep {
    if (data.length !== HELLO_SIZE || data[0] !== 1) throw malformed("HELLO");
    clientShortKey = data.slice(74, 74 + KEY_SIZE);
    const key = box.beforenm(clientShortKey, serverKey.secretKey);
    const zeros = openNumbered(box, session, "CurveZMQHELLO---", data, 106, HELLO_SIZE, key);
    if (zeros === undefined || zeros.some((byte) => byte !== 0)) {
      throw new FluxError(errno.EPROTO, "HELLO does not open: the client expects a server with another public key");
    }
    state = "initiate";
    return { send: welcome(key) };
  }

  function welcome(key: Uint8Array): Uint8Array {
    const short = generateKeypair(randomBytes);
    cookieKey = new Uint8Array(randomBytes(KEY_SIZE));
    const inside = Buffer.concat([clientShortKey, short.secretKey]);
    const cookie = sealLong(box, "COOKIE--", inside, cookieKey, randomBytes);
    inside.fill(0);
    short.secretKey.fill(0);
    return encodeCommand("WELCOME", sealLong(box, "WELCOME-", Buffer.concat([short.publicKey, cookie]), key, randomBytes));
  }

  function initiate(data: Uint8Array): HandshakeStep {
    if (data.length < INITIATE_MIN_SIZE) throw malformed("INITIATE");
    const shortSecret = openCookie(data.subarray(0, COOKIE_SIZE));
    session.key = box.beforenm(clientShortKey, shortSecret);
    const inside = openNumbered(box, session, "CurveZMQINITIATE", data, COOKIE_SIZE, data.length, session.key);
    if (inside === undefined) throw new FluxError(errno.EPROTO, "INITIATE does not open");
    const clientKey = inside.slice(0, KEY_SIZE);
    checkVouch(inside.subarray(KEY_SIZE, KEY_SIZE + VOUCH_SIZE), clientKey, shortSecret);
    shortSecret.fill(0);
    const publicKey = encodeZ85(clientKey);
    const metadata = parseMetadata(inside.subarray(KEY_SIZE + VOUCH_SIZE));
    if (!options.authorize(publicKey)) throw new FluxError(errno.EPERM, `the public key ${publicKey} is not authorized`);
    state = "ready";
    const send = sealNumbered(box, session, "READY", "CurveZMQREADY---", encodeMetadata(options.local), session.key);
    return { send, peer: { ...metadata, publicKey } };
  }

  /** s' from the cookie. Its C' must be HELLO's. */
  function openCookie(cookie: Uint8Array): Uint8Array {
    const key = cookieKey;
    if (key === undefined) throw new FluxError(errno.EPROTO, "INITIATE without WELCOME");
    const inside = openLong(box, "COOKIE--", cookie, key);
    key.fill(0);
    cookieKey = undefined;
    if (inside === undefined || !equal(inside.subarray(0, KEY_SIZE), clientShortKey)) {
      throw new FluxError(errno.EPROTO, "INITIATE has a cookie that is not ours");
    }
    return inside.slice(KEY_SIZE);
  }

  /** The holder of C vouches for C' and names S: without the latter, another server could pass the vouch on. */
  function checkVouch(vouch: Uint8Array, clientKey: Uint8Array, shortSecret: Uint8Array): void {
    const inside = openLong(box, "VOUCH---", vouch, box.beforenm(clientKey, shortSecret));
    if (
      inside === undefined ||
      !equal(inside.subarray(0, KEY_SIZE), clientShortKey) ||
      !equal(inside.subarray(KEY_SIZE), serverKey.publicKey)
    ) {
      throw new FluxError(errno.EPROTO, "INITIATE has a vouch that does not hold");
    }
  }

  return {
    kind: "curve",
    mechanism: "CURVE",
    asServer: true,
    start: () => undefined,
    receive(command: Command): HandshakeStep {
      if (state === "hello" && command.name === "HELLO") return hello(command.data);
      if (state === "initiate" && command.name === "INITIATE") return initiate(command.data);
      throw new FluxError(errno.EPROTO, `${command.name} where ${state.toUpperCase()} was expected`);
    },
    ...traffic(box, session),
  };
}

/** The client's side of one connection. */
export function curveClient(box: CryptoBox, options: CurveClientOptions): Security {
  const { keypair, serverPublicKey, randomBytes } = options;
  const session = createSession("CurveZMQMESSAGEC", "CurveZMQMESSAGES");
  const short = generateKeypair(randomBytes);
  let state: "welcome" | "ready" | "done" = "welcome";
  let helloKey: Uint8Array = new Uint8Array(0);

  function hello(): Uint8Array {
    helloKey = box.beforenm(serverPublicKey, short.secretKey);
    const head = new Uint8Array(74);
    head[0] = 1;
    const signature = numberedBox(box, session, "CurveZMQHELLO---", new Uint8Array(64), helloKey);
    return encodeCommand("HELLO", head, short.publicKey, signature);
  }

  function welcome(data: Uint8Array): HandshakeStep {
    if (data.length !== WELCOME_SIZE) throw malformed("WELCOME");
    const inside = openLong(box, "WELCOME-", data, helloKey);
    if (inside === undefined) throw new FluxError(errno.EPERM, "WELCOME does not open: the server does not hold the expected key");
    helloKey.fill(0);
    const serverShortKey = inside.slice(0, KEY_SIZE);
    const cookie = inside.slice(KEY_SIZE);
    session.key = box.beforenm(serverShortKey, short.secretKey);
    const vouchKey = box.beforenm(serverShortKey, keypair.secretKey);
    const vouch = sealLong(box, "VOUCH---", Buffer.concat([short.publicKey, serverPublicKey]), vouchKey, randomBytes);
    short.secretKey.fill(0);
    vouchKey.fill(0);
    const plain = Buffer.concat([keypair.publicKey, vouch, encodeMetadata(options.local)]);
    state = "ready";
    return { send: encodeCommand("INITIATE", cookie, numberedBox(box, session, "CurveZMQINITIATE", plain, session.key)) };
  }

  function ready(data: Uint8Array): HandshakeStep {
    if (data.length < SHORT_NONCE_SIZE + BOX_TAG_SIZE) throw malformed("READY");
    const inside = openNumbered(box, session, "CurveZMQREADY---", data, 0, data.length, session.key);
    if (inside === undefined) throw new FluxError(errno.EPROTO, "READY does not open");
    state = "done";
    return { peer: parseMetadata(inside) };
  }

  return {
    kind: "curve",
    mechanism: "CURVE",
    asServer: false,
    start: hello,
    receive(command: Command): HandshakeStep {
      if (state === "welcome" && command.name === "WELCOME") return welcome(command.data);
      if (state === "ready" && command.name === "READY") return ready(command.data);
      throw new FluxError(errno.EPROTO, `${command.name} where ${state.toUpperCase()} was expected`);
    },
    ...traffic(box, session),
  };
}

/** Both directions' counters, and the key between C' and S' once there is one. */
interface Session {
  key: Uint8Array;
  /** The last number sent, and the last one received. */
  sent: number;
  received: number;
  /** 16 bytes of prefix, 8 of counter. */
  sendNonce: Uint8Array;
  receiveNonce: Uint8Array;
}

function createSession(sendPrefix: string, receivePrefix: string): Session {
  return {
    key: new Uint8Array(0),
    sent: 0,
    received: 0,
    sendNonce: nonceOf(sendPrefix),
    receiveNonce: nonceOf(receivePrefix),
  };
}

function nonceOf(prefix: string): Uint8Array {
  const nonce = new Uint8Array(NONCE_SIZE);
  nonce.set(Buffer.from(prefix, "latin1"));
  return nonce;
}

function nextCounter(session: Session): number {
  if (session.sent >= COUNTER_MAX) throw new FluxError(errno.EOVERFLOW, "the connection has used up its nonces");
  return ++session.sent;
}

/** A received counter must be above the last one. */
function checkCounter(session: Session, counter: number): void {
  if (counter <= session.received || counter > COUNTER_MAX) {
    throw new FluxError(errno.EPROTO, "a nonce was repeated or is out of range");
  }
  session.received = counter;
}

/** Short nonce and box of a handshake command. */
function numberedBox(box: CryptoBox, session: Session, prefix: string, plain: Uint8Array, key: Uint8Array): Uint8Array {
  const nonce = nonceOf(prefix);
  writeU64(nonce, LONG_NONCE_SIZE, nextCounter(session));
  return Buffer.concat([nonce.subarray(LONG_NONCE_SIZE), box.seal(plain, nonce, key)]);
}

function sealNumbered(box: CryptoBox, session: Session, name: string, prefix: string, plain: Uint8Array, key: Uint8Array) {
  return encodeCommand(name, numberedBox(box, session, prefix, plain, key));
}

/** Opens data[start..end): short nonce and box. */
function openNumbered(
  box: CryptoBox,
  session: Session,
  prefix: string,
  data: Uint8Array,
  start: number,
  end: number,
  key: Uint8Array,
): Uint8Array | undefined {
  checkCounter(session, readU64(data, start));
  const nonce = nonceOf(prefix);
  nonce.set(data.subarray(start, start + SHORT_NONCE_SIZE), LONG_NONCE_SIZE);
  return box.open(data.subarray(start + SHORT_NONCE_SIZE, end), nonce, key);
}

/** A random long nonce and a box. */
function sealLong(box: CryptoBox, prefix: string, plain: Uint8Array, key: Uint8Array, randomBytes: RandomBytes): Uint8Array {
  const nonce = nonceOf(prefix);
  nonce.set(randomBytes(LONG_NONCE_SIZE), SHORT_NONCE_SIZE);
  return Buffer.concat([nonce.subarray(SHORT_NONCE_SIZE), box.seal(plain, nonce, key)]);
}

function openLong(box: CryptoBox, prefix: string, data: Uint8Array, key: Uint8Array): Uint8Array | undefined {
  const nonce = nonceOf(prefix);
  nonce.set(data.subarray(0, LONG_NONCE_SIZE), SHORT_NONCE_SIZE);
  return box.open(data.subarray(LONG_NONCE_SIZE), nonce, key);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function malformed(name: string): FluxError {
  return new FluxError(errno.EPROTO, `a malformed ${name} command`);
}

type Traffic = Pick<Security, "overhead_bytes" | "beginWrite" | "encode" | "endWrite" | "open">;

/** Parts to MESSAGE frames and back, in the box's scratch memory. */
function traffic(box: CryptoBox, session: Session): Traffic {
  function encode(target: Uint8Array, offset: number, part: Uint8Array, more: boolean, command: boolean): number {
    const at = writeFrameHeader(target, offset, 0, MESSAGE_OVERHEAD + part.length);
    const nonce = session.sendNonce;
    writeU64(nonce, LONG_NONCE_SIZE, nextCounter(session));
    for (let i = 0; i < 8; i++) {
      target[at + i] = MESSAGE_NAME[i] ?? 0;
      target[at + 8 + i] = nonce[LONG_NONCE_SIZE + i] ?? 0;
    }
    const boxAt = at + MESSAGE_BOX_OFFSET;
    target[boxAt + BOX_TAG_SIZE] = (more ? PART_MORE : 0) | (command ? PART_COMMAND : 0);
    target.set(part, boxAt + BOX_TAG_SIZE + 1);
    box.sealAt(boxAt, 1 + part.length, nonce, session.key);
    return boxAt + BOX_TAG_SIZE + 1 + part.length;
  }

  function open(flags: number, bytes: Uint8Array, start: number, end: number): Opened {
    // libzmq sets neither flag here; both are tolerated because the grammar of RFC 26 calls MESSAGE a command.
    if ((flags & FRAME_MORE) !== 0 || end - start < MESSAGE_OVERHEAD) throw malformed("MESSAGE");
    for (let i = 0; i < 8; i++) if (bytes[start + i] !== MESSAGE_NAME[i]) throw unboxed(flags);
    checkCounter(session, readU64(bytes, start + 8));
    const nonce = session.receiveNonce;
    for (let i = 0; i < 8; i++) nonce[LONG_NONCE_SIZE + i] = bytes[start + 8 + i] ?? 0;
    const size = end - start - MESSAGE_BOX_OFFSET;
    const scratch = box.scratch(size);
    scratch.set(bytes.subarray(start + MESSAGE_BOX_OFFSET, end));
    if (!box.openAt(0, size, nonce, session.key)) throw new FluxError(errno.EPROTO, "a MESSAGE does not open");
    const partFlags = scratch[BOX_TAG_SIZE] ?? 0;
    return {
      more: (partFlags & PART_MORE) !== 0,
      command: (partFlags & PART_COMMAND) !== 0,
      data: scratch.slice(BOX_TAG_SIZE + 1, size),
    };
  }

  return {
    overhead_bytes: FRAME_HEADER_MAX + MESSAGE_OVERHEAD,
    beginWrite: (size_bytes) => box.scratch(size_bytes),
    encode,
    endWrite: (target, size_bytes) => target.slice(0, size_bytes),
    open,
  };
}

function unboxed(flags: number): FluxError {
  const kind = (flags & FRAME_COMMAND) !== 0 ? "command" : "message";
  return new FluxError(errno.EPROTO, `a ${kind} in the clear on a CURVE connection`);
}
