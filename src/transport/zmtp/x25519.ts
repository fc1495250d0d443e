// X25519 (RFC 7748) on raw 32-byte keys by node:crypto, five times as fast as libsodium compiled to wasm.
import { createPrivateKey, createPublicKey, diffieHellman } from "node:crypto";
import { errno, FluxError } from "../../message/errno.ts";

export const KEY_SIZE = 32;
/** DER prefixes (RFC 8410) of a PKCS #8 private key and of a SubjectPublicKeyInfo; the raw key follows. */
const PRIVATE_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

/** The public key of a secret key. */
export function publicKeyOf(secretKey: Uint8Array): Uint8Array {
  const key = createPublicKey(privateKey(secretKey)).export({ format: "der", type: "spki" });
  return new Uint8Array(key.subarray(PUBLIC_PREFIX.length));
}

/** The shared secret. Throws FluxError EPROTO for a public key of small order, which would make it zero. */
export function sharedSecret(publicKey: Uint8Array, secretKey: Uint8Array): Uint8Array {
  checkSize(publicKey);
  const theirs = createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, publicKey]), format: "der", type: "spki" });
  const ours = privateKey(secretKey);
  try {
    return new Uint8Array(diffieHellman({ privateKey: ours, publicKey: theirs }));
  } catch (cause) {
    throw new FluxError(errno.EPROTO, "the peer's public key is unusable", { cause });
  }
}

function privateKey(secretKey: Uint8Array) {
  checkSize(secretKey);
  return createPrivateKey({ key: Buffer.concat([PRIVATE_PREFIX, secretKey]), format: "der", type: "pkcs8" });
}

function checkSize(key: Uint8Array): void {
  if (key.length !== KEY_SIZE) throw new FluxError(errno.EINVAL, `a CURVE key has ${KEY_SIZE} bytes, not ${key.length}`);
}
