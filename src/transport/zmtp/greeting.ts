// The 64-byte greeting that opens every ZMTP 3.1 connection (ZeroMQ RFC 37):
//
//   signature (FF, 8 bytes of padding, 7F), version (major, minor), mechanism (20 bytes, NUL padded), as-server, filler (31)
//
// The padding and the as-server byte say nothing reliable: libzmq puts a length in the former for the sake of ZMTP 1, and
// sends 0 in the latter even when it is the CURVE server. So neither is checked.
import { errno, FluxError } from "../../message/errno.ts";

export const GREETING_SIZE = 64;
const MECHANISM_OFFSET = 12;
const MECHANISM_SIZE = 20;
const AS_SERVER_OFFSET = 32;

export interface Greeting {
  major: number;
  minor: number;
  mechanism: string;
}

/** Our greeting, version 3.1. */
export function encodeGreeting(mechanism: string, asServer: boolean): Uint8Array {
  const bytes = new Uint8Array(GREETING_SIZE);
  bytes[0] = 0xff;
  bytes[9] = 0x7f;
  bytes[10] = 3;
  bytes[11] = 1;
  bytes.set(Buffer.from(mechanism, "latin1"), MECHANISM_OFFSET);
  bytes[AS_SERVER_OFFSET] = asServer ? 1 : 0;
  return bytes;
}

/** Throws FluxError EPROTO as soon as the bytes so far (up to 64) can't be the start of a ZMTP 3 greeting. */
export function checkGreetingStart(bytes: Uint8Array): void {
  if (bytes.length > 0 && bytes[0] !== 0xff) throw new FluxError(errno.EPROTO, "the peer does not speak ZMTP");
  if (bytes.length > 9 && bytes[9] !== 0x7f) throw new FluxError(errno.EPROTO, "the peer does not speak ZMTP 2 or later");
  const major = bytes[10];
  if (major !== undefined && major < 3) {
    throw new FluxError(errno.EPROTONOSUPPORT, `the peer speaks ZMTP ${major}, and 3 is required`);
  }
}

/** Reads a complete greeting. Throws FluxError. */
export function parseGreeting(bytes: Uint8Array): Greeting {
  if (bytes.length !== GREETING_SIZE) throw new FluxError(errno.EPROTO, "a ZMTP greeting has 64 bytes");
  checkGreetingStart(bytes);
  const field = Buffer.from(bytes).toString("latin1", MECHANISM_OFFSET, MECHANISM_OFFSET + MECHANISM_SIZE);
  const nul = field.indexOf("\0");
  const mechanism = nul < 0 ? field : field.slice(0, nul);
  if (!/^[A-Z0-9\-_.+]+$/.test(mechanism)) throw new FluxError(errno.EPROTO, "the greeting names no security mechanism");
  return { major: bytes[10] ?? 0, minor: bytes[11] ?? 0, mechanism };
}
