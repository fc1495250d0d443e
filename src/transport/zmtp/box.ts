// The crypto box of CURVE (ZeroMQ RFC 26): NaCl's crypto_box and crypto_secretbox, that is X25519, HSalsa20, XSalsa20 and
// Poly1305. A box is its 16-byte tag and the ciphertext. Two back ends give the same bytes: libsodium of the machine
// through FFI (box-ffi.ts), and libsodium compiled to wasm (box-wasm.ts).
import { errno, FluxError } from "../../message/errno.ts";

export const BOX_TAG_SIZE = 16;
export const NONCE_SIZE = 24;
export type BoxBackend = "ffi" | "wasm";

export interface CryptoBox {
  readonly backend: BoxBackend;
  /** The key of boxes between two parties. Throws FluxError EPROTO for an unusable public key. */
  beforenm(publicKey: Uint8Array, secretKey: Uint8Array): Uint8Array;
  /** A sealed copy. */
  seal(plain: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array;
  /** An opened copy, or undefined when the box is not genuine. */
  open(box: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array | undefined;
  /**
   * Memory that `sealAt` and `openAt` work on, at least `size_bytes` of it. It is one for all users of the box: what is in
   * it holds until the next call of anything here but `sealAt` and `openAt`, so don't call foreign code in between.
   */
  scratch(size_bytes: number): Uint8Array;
  /** Seals in place: `size_bytes` of plain text at offset + 16 become a box at offset. */
  sealAt(offset: number, size_bytes: number, nonce: Uint8Array, key: Uint8Array): void;
  /** Opens in place: a box of `size_bytes` at offset becomes plain text at offset + 16. False when it is not genuine. */
  openAt(offset: number, size_bytes: number, nonce: Uint8Array, key: Uint8Array): boolean;
}

/** What a back end has to give. Addresses are numbers in its own address space. */
export interface BoxPrimitives {
  backend: BoxBackend;
  beforenm(publicKey: Uint8Array, secretKey: Uint8Array): Uint8Array;
  /** Memory of at least this size and its address; the previous one becomes invalid. */
  allocate(size_bytes: number): { address: number; bytes: Uint8Array };
  /** 56 bytes for nonce and key that stay where they are. `bytes` is asked for anew at each use: a heap's view can change. */
  control: { nonceAddress: number; keyAddress: number; setNonce(nonce: Uint8Array): void; setKey(key: Uint8Array): void };
  /** The view of allocated memory, which may have changed since. */
  refresh(bytes: Uint8Array): Uint8Array;
  sealEasy(to: number, from: number, size_bytes: number, nonce: number, key: number): number;
  openEasy(to: number, from: number, size_bytes: number, nonce: number, key: number): number;
}

const SCRATCH_MIN_BYTES = 1024 * 1024;

/** A CryptoBox on a back end's primitives. */
export function cryptoBox(primitives: BoxPrimitives): CryptoBox {
  const { control } = primitives;
  let memory = primitives.allocate(SCRATCH_MIN_BYTES);
  let loadedKey: Uint8Array | undefined;

  function load(nonce: Uint8Array, key: Uint8Array): void {
    control.setNonce(nonce);
    if (key === loadedKey) return;
    control.setKey(key);
    loadedKey = key;
  }

  function scratch(size_bytes: number): Uint8Array {
    // What a large message needed is given back at the next small one.
    if (size_bytes > memory.bytes.length || (memory.bytes.length > SCRATCH_MIN_BYTES && size_bytes <= SCRATCH_MIN_BYTES)) {
      memory = primitives.allocate(Math.max(size_bytes, SCRATCH_MIN_BYTES));
    }
    memory.bytes = primitives.refresh(memory.bytes);
    return memory.bytes;
  }

  function sealAt(offset: number, size_bytes: number, nonce: Uint8Array, key: Uint8Array): void {
    load(nonce, key);
    const at = memory.address + offset;
    if (primitives.sealEasy(at, at + BOX_TAG_SIZE, size_bytes, control.nonceAddress, control.keyAddress) !== 0) {
      throw new FluxError(errno.EIO, "libsodium could not seal a box");
    }
  }

  function openAt(offset: number, size_bytes: number, nonce: Uint8Array, key: Uint8Array): boolean {
    if (size_bytes < BOX_TAG_SIZE) return false;
    load(nonce, key);
    const at = memory.address + offset;
    return primitives.openEasy(at + BOX_TAG_SIZE, at, size_bytes, control.nonceAddress, control.keyAddress) === 0;
  }

  function seal(plain: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array {
    const bytes = scratch(plain.length + BOX_TAG_SIZE);
    bytes.set(plain, BOX_TAG_SIZE);
    sealAt(0, plain.length, nonce, key);
    return bytes.slice(0, plain.length + BOX_TAG_SIZE);
  }

  function open(box: Uint8Array, nonce: Uint8Array, key: Uint8Array): Uint8Array | undefined {
    const bytes = scratch(box.length);
    bytes.set(box);
    return openAt(0, box.length, nonce, key) ? bytes.slice(BOX_TAG_SIZE, box.length) : undefined;
  }

  const beforenm: CryptoBox["beforenm"] = (publicKey, secretKey) => primitives.beforenm(publicKey, secretKey);
  return { backend: primitives.backend, beforenm, seal, open, scratch, sealAt, openAt };
}

const loaded = new Map<BoxBackend, Promise<CryptoBox>>();
let preferred: Promise<CryptoBox> | undefined;

/**
 * The box of this process, loaded at the first call: libsodium of the machine when it is there, otherwise wasm. A named
 * back end is that one or a FluxError.
 */
export function loadBox(backend?: BoxBackend): Promise<CryptoBox> {
  if (backend === undefined) return (preferred ??= loadPreferred());
  const known = loaded.get(backend);
  if (known !== undefined) return known;
  const box = backend === "ffi" ? loadFfi() : loadWasm();
  loaded.set(backend, box);
  return box;
}

async function loadPreferred(): Promise<CryptoBox> {
  const { hasLibsodium } = await import("./box-ffi.ts");
  return await loadBox(hasLibsodium() ? "ffi" : "wasm");
}

async function loadFfi(): Promise<CryptoBox> {
  const { ffiPrimitives } = await import("./box-ffi.ts");
  return cryptoBox(ffiPrimitives());
}

async function loadWasm(): Promise<CryptoBox> {
  const { wasmPrimitives } = await import("./box-wasm.ts");
  return cryptoBox(await wasmPrimitives());
}
