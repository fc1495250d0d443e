// The crypto box by libsodium compiled to wasm, through its raw exports: the package's ordinary calls allocate and copy
// at every use and are half as fast. X25519 is node:crypto's.
import { errno, FluxError } from "../../message/errno.ts";
import { NONCE_SIZE, type BoxPrimitives } from "./box.ts";
import { hsalsa20 } from "./hsalsa20.ts";
import { KEY_SIZE, sharedSecret } from "./x25519.ts";

/** The raw exports in use. 64-bit sizes travel as two 32-bit halves, low first. */
interface RawSodium {
  /** Replaced whenever the heap grows. */
  HEAPU8: Uint8Array;
  _malloc(size_bytes: number): number;
  _free(address: number): void;
  _crypto_secretbox_easy(to: number, from: number, size: number, sizeHigh: number, nonce: number, key: number): number;
  _crypto_secretbox_open_easy(to: number, from: number, size: number, sizeHigh: number, nonce: number, key: number): number;
}

/** Loads the package: about 20 ms, so only where CURVE is used without the native library. */
export async function wasmPrimitives(): Promise<BoxPrimitives> {
  const { default: wrappers } = await import("libsodium-wrappers");
  await wrappers.ready;
  return primitivesOf(rawExports(wrappers));
}

function rawExports(wrappers: object): RawSodium {
  const raw = (wrappers as { libsodium?: RawSodium }).libsodium;
  if (raw?.HEAPU8 === undefined || typeof raw._crypto_secretbox_easy !== "function") {
    throw new FluxError(errno.ENOSYS, "libsodium-wrappers does not offer libsodium's raw exports");
  }
  return raw;
}

function primitivesOf(raw: RawSodium): BoxPrimitives {
  const control = allocateRaw(raw, NONCE_SIZE + KEY_SIZE);
  let scratch: number | undefined;
  return {
    backend: "wasm",
    beforenm: (publicKey, secretKey) => hsalsa20(sharedSecret(publicKey, secretKey)),
    allocate(size_bytes) {
      if (scratch !== undefined) raw._free(scratch);
      scratch = undefined;
      scratch = allocateRaw(raw, size_bytes);
      return { address: scratch, bytes: raw.HEAPU8.subarray(scratch, scratch + size_bytes) };
    },
    control: {
      nonceAddress: control,
      keyAddress: control + NONCE_SIZE,
      setNonce: (nonce) => raw.HEAPU8.set(nonce, control),
      setKey: (key) => raw.HEAPU8.set(key, control + NONCE_SIZE),
    },
    refresh(bytes) {
      if (bytes.buffer === raw.HEAPU8.buffer || scratch === undefined) return bytes;
      return raw.HEAPU8.subarray(scratch, scratch + bytes.length);
    },
    sealEasy: (to, from, size, nonce, key) => raw._crypto_secretbox_easy(to, from, size, 0, nonce, key),
    openEasy: (to, from, size, nonce, key) => raw._crypto_secretbox_open_easy(to, from, size, 0, nonce, key),
  };
}

function allocateRaw(raw: RawSodium, size_bytes: number): number {
  const address = raw._malloc(size_bytes);
  if (address === 0) throw new FluxError(errno.ENOMEM, `libsodium's wasm heap has no room for ${size_bytes} bytes`);
  return address;
}
