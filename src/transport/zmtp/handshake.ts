// From the first byte to the peer's name: greeting, then the mechanism's commands. No I/O: bytes in, bytes out.
import { errno, FluxError } from "../../message/errno.ts";
import { parseCommand, parseError, type Command } from "./command.ts";
import { encodeFrame, FRAME_COMMAND, type Frame, type FrameDecoder } from "./frame.ts";
import { checkGreetingStart, encodeGreeting, GREETING_SIZE, parseGreeting } from "./greeting.ts";
import type { Peer, Security } from "./security.ts";

export interface HandshakeResult {
  peer: Peer;
  /** Heartbeats came with ZMTP 3.1. */
  heartbeats: boolean;
}

export interface Handshake {
  /** What to send first. */
  start(): Uint8Array;
  /**
   * Takes a chunk and sends what it calls for. A result ends the handshake: what followed in the chunk is in the
   * decoder. Throws FluxError: EPERM when one side does not want the other, else EPROTO, EMSGSIZE or EPROTONOSUPPORT.
   */
  receive(chunk: Uint8Array): HandshakeResult | undefined;
  /** True when the peer is known to speak ZMTP 3 and has not refused us, so that it can be told why it is refused. */
  readonly canRefuse: boolean;
}

/** Which socket types may talk to ours (ZeroMQ RFC 28). */
const PARTNERS: Readonly<Record<string, readonly string[]>> = {
  ROUTER: ["DEALER", "REQ", "ROUTER"],
  DEALER: ["ROUTER", "REP", "DEALER"],
};

export function createHandshake(
  security: Security,
  socketType: string,
  decoder: FrameDecoder,
  send: (bytes: Uint8Array) => void,
): Handshake {
  const greeting = new Uint8Array(GREETING_SIZE);
  let size = 0;
  let minor = 0;
  let refused = false;

  function receive(chunk: Uint8Array): HandshakeResult | undefined {
    if (size < GREETING_SIZE) {
      const count = Math.min(GREETING_SIZE - size, chunk.length);
      greeting.set(chunk.subarray(0, count), size);
      size += count;
      checkGreetingStart(greeting.subarray(0, size));
      if (size < GREETING_SIZE) return undefined;
      acceptGreeting();
      chunk = chunk.subarray(count);
    }
    if (chunk.length > 0) decoder.push(chunk);
    return receiveFrames();
  }

  function acceptGreeting(): void {
    const theirs = parseGreeting(greeting);
    if (theirs.mechanism !== security.mechanism) {
      throw new FluxError(errno.EPROTO, `the peer wants ${theirs.mechanism} security, and this side ${security.mechanism}`);
    }
    minor = theirs.major > 3 ? 1 : theirs.minor;
    const first = security.start();
    if (first !== undefined) send(encodeFrame(FRAME_COMMAND, first));
  }

  function receiveFrames(): HandshakeResult | undefined {
    for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
      const command = handshakeCommand(frame);
      if (command.name === "ERROR") {
        refused = true;
        throw new FluxError(errno.EPERM, refusedText(parseError(command.data)));
      }
      const step = security.receive(command);
      if (step.peer !== undefined) checkPartner(socketType, step.peer);
      if (step.send !== undefined) send(encodeFrame(FRAME_COMMAND, step.send));
      if (step.peer !== undefined) return { peer: step.peer, heartbeats: minor >= 1 };
    }
    return undefined;
  }

  return {
    start: () => encodeGreeting(security.mechanism, security.asServer),
    receive,
    get canRefuse() {
      return size === GREETING_SIZE && !refused;
    },
  };
}

function handshakeCommand(frame: Frame): Command {
  if ((frame.flags & FRAME_COMMAND) === 0) throw new FluxError(errno.EPROTO, "a message before the handshake is over");
  return parseCommand(frame.bytes.subarray(frame.start, frame.end));
}

/** The reason that ZAP (ZeroMQ RFC 27) gives for a key that is not welcome; libzmq makes an event of it. */
export const REFUSED_KEY_REASON = "400";

function refusedText(reason: string): string {
  return reason === REFUSED_KEY_REASON ? "the peer does not authorize our public key" : `the peer refused: ${reason}`;
}

function checkPartner(socketType: string, peer: Peer): void {
  const partners = PARTNERS[socketType];
  if (partners === undefined) throw new FluxError(errno.EINVAL, `unsupported socket type '${socketType}'`);
  if (partners.includes(peer.socketType)) return;
  throw new FluxError(errno.EPROTO, `a ${socketType} does not talk to a peer of type '${printable(peer.socketType)}'`);
}

function printable(text: string): string {
  return text.slice(0, 20).replace(/[^\x20-\x7e]/g, "?");
}
