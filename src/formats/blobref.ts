// Blobref (RFC 10): the name of a blob in the content store: hash algorithm, hyphen, digest in lower-case hexadecimal.

import { FormatError } from "./error.ts";

export type HashName = "sha1" | "sha256";
export type Blobref = string;

/** Digest sizes in bytes. */
export const HASH_SIZE_BYTES: Readonly<Record<HashName, number>> = { sha1: 20, sha256: 32 };

const WHAT = "blobref";
const BLOBREF = /^(?:sha1-[0-9a-f]{40}|sha256-[0-9a-f]{64})$/;

export function isHashName(name: unknown): name is HashName {
  return name === "sha1" || name === "sha256";
}

export function isBlobref(text: unknown): text is Blobref {
  return typeof text === "string" && BLOBREF.test(text);
}

/** Throws FormatError. */
export function parseBlobref(text: string): { hash: HashName; hex: string } {
  const dash = text.indexOf("-");
  const hash = text.slice(0, Math.max(dash, 0));
  if (!isHashName(hash)) throw new FormatError(WHAT, text, "it must begin with sha1- or sha256-", 0);
  if (!BLOBREF.test(text)) {
    throw new FormatError(WHAT, text, `a ${hash} digest is ${2 * HASH_SIZE_BYTES[hash]} lower-case hexadecimal digits`, dash + 1);
  }
  return { hash, hex: text.slice(dash + 1) };
}

/** Name of a blob. */
export function blobrefOf(bytes: Uint8Array, hash: HashName = "sha1"): Blobref {
  return `${hash}-${new Bun.CryptoHasher(hash).update(bytes).digest("hex")}`;
}

/** Digest of a blob, as the content service carries it. */
export function hashOf(bytes: Uint8Array, hash: HashName = "sha1"): Uint8Array {
  return new Uint8Array(new Bun.CryptoHasher(hash).update(bytes).digest());
}

/** Digest bytes to a blobref. Throws FormatError when their number is not that of `hash`. */
export function blobrefFromHash(digest: Uint8Array, hash: HashName = "sha1"): Blobref {
  if (digest.byteLength !== HASH_SIZE_BYTES[hash]) {
    throw new FormatError(WHAT, "", `a ${hash} digest is ${HASH_SIZE_BYTES[hash]} bytes, not ${digest.byteLength}`);
  }
  return `${hash}-${Buffer.from(digest.buffer, digest.byteOffset, digest.byteLength).toString("hex")}`;
}

/** Blobref to digest bytes. Throws FormatError. */
export function blobrefToHash(text: Blobref): Uint8Array {
  return new Uint8Array(Buffer.from(parseBlobref(text).hex, "hex"));
}
