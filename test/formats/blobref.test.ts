import { describe, expect, test } from "bun:test";
import { blobrefFromHash, blobrefOf, blobrefToHash, hashOf, isBlobref, parseBlobref } from "../../src/formats/blobref.ts";

const bytes = new TextEncoder().encode("abc");

describe("blobref", () => {
  test("names a blob", () => {
    // FIPS 180 example digests of "abc"
    expect(blobrefOf(bytes)).toBe("sha1-a9993e364706816aba3e25717850c26c9cd0d89d");
    expect(blobrefOf(bytes, "sha256")).toBe("sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    expect(blobrefOf(new Uint8Array())).toBe("sha1-da39a3ee5e6b4b0d3255bfef95601890afd80709");
  });
  test("digest bytes and back", () => {
    for (const hash of ["sha1", "sha256"] as const) {
      const ref = blobrefOf(bytes, hash);
      expect(blobrefToHash(ref)).toEqual(hashOf(bytes, hash));
      expect(blobrefFromHash(blobrefToHash(ref), hash)).toBe(ref);
      expect(parseBlobref(ref).hash).toBe(hash);
    }
    expect(() => blobrefFromHash(new Uint8Array(19))).toThrow("20 bytes, not 19");
  });
  test("what is no blobref", () => {
    for (const text of ["", "sha1", "md5-00", `sha1-${"0".repeat(39)}`, `sha1-${"A".repeat(40)}`, `sha256-${"0".repeat(40)}`]) {
      expect(isBlobref(text)).toBe(false);
      expect(() => parseBlobref(text), text).toThrow("invalid blobref");
    }
  });
});
