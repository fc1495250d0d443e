// The crypto box by the machine's libsodium through bun:ffi.
import { dlopen, FFIType, ptr, type Pointer } from "bun:ffi";
import { errno, FluxError } from "../../message/errno.ts";
import { NONCE_SIZE, type BoxPrimitives } from "./box.ts";
import { KEY_SIZE } from "./x25519.ts";

/** ABI versions with the functions below: libsodium 1.0.11–1.0.18, and 1.0.19 on. */
const LIBRARIES = ["libsodium.so.23", "libsodium.so.26"];

const SYMBOLS = {
  sodium_init: { args: [], returns: FFIType.i32 },
  crypto_box_beforenm: { args: [FFIType.ptr, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
  crypto_secretbox_easy: {
    args: [FFIType.ptr, FFIType.ptr, FFIType.u64, FFIType.ptr, FFIType.ptr],
    returns: FFIType.i32,
  },
  crypto_secretbox_open_easy: {
    args: [FFIType.ptr, FFIType.ptr, FFIType.u64, FFIType.ptr, FFIType.ptr],
    returns: FFIType.i32,
  },
} as const;

type Sodium = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

let sodium: Sodium | undefined;
let failure: Error | undefined;

function openLibrary(): Sodium | undefined {
  if (sodium !== undefined || failure !== undefined) return sodium;
  for (const name of LIBRARIES) {
    try {
      const { symbols } = dlopen(name, SYMBOLS);
      if (symbols.sodium_init() >= 0) return (sodium = symbols);
      failure = new Error(`${name}: sodium_init failed`);
    } catch (thrown) {
      failure = thrown instanceof Error ? thrown : new Error(String(thrown));
    }
  }
  return undefined;
}

/** True when the machine has a libsodium that can be used. */
export function hasLibsodium(): boolean {
  return openLibrary() !== undefined;
}

/** Throws FluxError ENOENT without libsodium. */
export function ffiPrimitives(): BoxPrimitives {
  const library = openLibrary();
  if (library === undefined) {
    throw new FluxError(errno.ENOENT, `libsodium (${LIBRARIES.join(" or ")}) is not installed`, { cause: failure });
  }
  const control = pinned(NONCE_SIZE + KEY_SIZE);
  const [secret, theirs, result] = [pinned(KEY_SIZE), pinned(KEY_SIZE), pinned(KEY_SIZE)];

  return {
    backend: "ffi",
    beforenm(publicKey, secretKey) {
      theirs.bytes.set(publicKey.subarray(0, KEY_SIZE));
      secret.bytes.set(secretKey.subarray(0, KEY_SIZE));
      const failed = library.crypto_box_beforenm(pointer(result.address), pointer(theirs.address), pointer(secret.address));
      const key = result.bytes.slice();
      secret.bytes.fill(0);
      result.bytes.fill(0);
      if (failed !== 0) throw new FluxError(errno.EPROTO, "the peer's public key is unusable");
      return key;
    },
    allocate: pinned,
    control: {
      nonceAddress: control.address,
      keyAddress: control.address + NONCE_SIZE,
      setNonce: (nonce) => control.bytes.set(nonce),
      setKey: (key) => control.bytes.set(key, NONCE_SIZE),
    },
    refresh: (bytes) => bytes,
    sealEasy: (to, from, size, nonce, key) =>
      library.crypto_secretbox_easy(pointer(to), pointer(from), size, pointer(nonce), pointer(key)),
    openEasy: (to, from, size, nonce, key) =>
      library.crypto_secretbox_open_easy(pointer(to), pointer(from), size, pointer(nonce), pointer(key)),
  };
}

/** Memory with a fixed address: an explicit ArrayBuffer is never moved, unlike a small typed array's inline storage. */
function pinned(size_bytes: number): { address: number; bytes: Uint8Array } {
  const bytes = new Uint8Array(new ArrayBuffer(size_bytes));
  return { address: ptr(bytes), bytes };
}

function pointer(address: number): Pointer {
  return address as Pointer;
}
