// Both crypto back ends under the same tests, and against each other.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import * as fc from "fast-check";
import { BOX_TAG_SIZE, loadBox, NONCE_SIZE, type BoxBackend, type CryptoBox } from "../../../src/transport/zmtp/box.ts";
import { generateKeypair } from "../../../src/transport/zmtp/keypair.ts";
import { publicKeyOf } from "../../../src/transport/zmtp/x25519.ts";
import { lacks } from "../../support/needs.ts";

const BACKENDS: readonly BoxBackend[] = lacks("libsodium23") ? ["wasm"] : ["ffi", "wasm"];
const boxes = new Map<BoxBackend, CryptoBox>();

beforeAll(async () => {
  for (const backend of BACKENDS) boxes.set(backend, await loadBox(backend));
});
afterAll(() => boxes.clear());

function boxOf(backend: BoxBackend): CryptoBox {
  const box = boxes.get(backend);
  if (box === undefined) throw new Error(`no box ${backend}`);
  return box;
}

const hex = (text: string) => new Uint8Array(Buffer.from(text, "hex"));

describe.each(BACKENDS)("%s", (backend) => {
  test("is what was asked for", () => expect(boxOf(backend).backend).toBe(backend));

  test("both parties derive the same key", () => {
    const [a, b] = [generateKeypair(), generateKeypair()];
    const box = boxOf(backend);
    expect(box.beforenm(a.publicKey, b.secretKey)).toEqual(box.beforenm(b.publicKey, a.secretKey));
  });

  test("a public key of small order is refused", () => {
    expect(() => boxOf(backend).beforenm(new Uint8Array(32), generateKeypair().secretKey)).toThrow("unusable");
  });

  test("what was sealed opens, and nothing else does", () => {
    const box = boxOf(backend);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.nat(), fc.integer({ min: 1, max: 255 }), (plain, at, change) => {
        const [nonce, key] = [randomBytes(NONCE_SIZE), randomBytes(32)];
        const sealed = box.seal(plain, nonce, key);
        expect(sealed.length).toBe(plain.length + BOX_TAG_SIZE);
        expect(box.open(sealed, nonce, key)).toEqual(plain);
        const index = at % sealed.length;
        sealed[index] = (sealed[index] ?? 0) ^ change;
        expect(box.open(sealed, nonce, key)).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });

  test("a box shorter than its tag does not open", () => {
    for (const size of [0, 1, 15]) {
      expect(boxOf(backend).open(new Uint8Array(size), randomBytes(NONCE_SIZE), randomBytes(32))).toBeUndefined();
    }
  });

  test("a large box, and small ones after it", () => {
    const box = boxOf(backend);
    for (const size of [30_000_000, 5, 1_100_000, 100, 40_000_000]) {
      const plain = new Uint8Array(size).fill(size & 0xff);
      const [nonce, key] = [randomBytes(NONCE_SIZE), randomBytes(32)];
      const opened = box.open(box.seal(plain, nonce, key), nonce, key);
      expect(Buffer.compare(opened ?? new Uint8Array(0), plain)).toBe(0);
    }
  });
});

test.skipIf(lacks("libsodium23"))("the back ends give the same keys and boxes", () => {
  const [ffi, wasm] = [boxOf("ffi"), boxOf("wasm")];
  for (let i = 0; i < 50; i++) {
    const [a, b] = [generateKeypair(), generateKeypair()];
    const key = ffi.beforenm(a.publicKey, b.secretKey);
    expect(wasm.beforenm(a.publicKey, b.secretKey)).toEqual(key);
    const [plain, nonce] = [randomBytes(i * 37), randomBytes(NONCE_SIZE)];
    expect(wasm.seal(plain, nonce, key)).toEqual(ffi.seal(plain, nonce, key));
  }
});

test("X25519 gives the public key of RFC 7748, section 6.1", () => {
  const secret = hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  expect(Buffer.from(publicKeyOf(secret)).toString("hex")).toBe("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
});
