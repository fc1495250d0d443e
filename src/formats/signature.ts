// Signature (RFC 39): BASE64(header).BASE64(payload).signature. Here the mechanism "none", which claims a user and proves nothing:
// who receives one compares the user with whoever sent it.

import { FormatError } from "./error.ts";
import { decodeKv, encodeKv } from "./kv.ts";

export interface Signed {
  readonly userid: number;
  readonly mechanism: "none";
  readonly payload: Uint8Array;
}

const WHAT = "signature";
const MAX_USERID = 0xffff_fffe;

const base64 = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

function fromBase64(text: string, part: string): Buffer {
  const bytes = Buffer.from(text, "base64");
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  if (text.length % 4 !== 0 || bytes.length !== (text.length / 4) * 3 - padding)
    throw new FormatError(WHAT, text, `the ${part} is not base64`);
  return bytes;
}

/** Wraps a payload (a jobspec, mostly) as user `userid`. Throws FormatError for what is no user id. */
export function wrapNone(userid: number, payload: string | Uint8Array): string {
  if (!Number.isInteger(userid) || userid < 0 || userid > MAX_USERID)
    throw new FormatError("user id", String(userid), "must be an integer from 0 to 2^32-2");
  const header = encodeKv([
    ["version", { type: "i", value: 1n }],
    ["userid", { type: "i", value: BigInt(userid) }],
    ["mechanism", { type: "s", value: "none" }],
  ]);
  return `${Buffer.from(header).toString("base64")}.${base64(typeof payload === "string" ? Buffer.from(payload) : payload)}.none`;
}

/** Throws FormatError for anything but a well-formed signature by mechanism none. */
export function unwrap(text: string): Signed {
  const [head, body, signature, ...more] = text.split(".");
  if (head === undefined || body === undefined || signature === undefined || more.length > 0) {
    throw new FormatError(WHAT, text, "expected HEADER.PAYLOAD.SIGNATURE");
  }
  const header = decodeKv(fromBase64(head, "header").toString());
  const version = header.get("version");
  const userid = header.get("userid");
  const mechanism = header.get("mechanism");
  if (version?.type !== "i" || version.value !== 1n) throw new FormatError(WHAT, text, "the header version is not 1");
  if (mechanism?.type !== "s") throw new FormatError(WHAT, text, "the header names no mechanism");
  if (mechanism.value !== "none") throw new FormatError(WHAT, text, `mechanism ${mechanism.value} is not supported, only none`);
  if (userid?.type !== "i" || userid.value < 0n || userid.value > BigInt(MAX_USERID))
    throw new FormatError(WHAT, text, "the header has no user id");
  if (header.size !== 3) throw new FormatError(WHAT, text, "the header has members that mechanism none does not know");
  if (signature !== "none") throw new FormatError(WHAT, text, "the signature does not match mechanism none");
  const payload = fromBase64(body, "payload");
  return {
    userid: Number(userid.value),
    mechanism: "none",
    payload: new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength),
  };
}
