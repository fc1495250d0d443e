import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { encodeFrame, FRAME_COMMAND, FRAME_MORE, frameDecoder, readU64, writeU64, type FrameDecoder } from "../../../src/transport/zmtp/frame.ts";

function drain(decoder: FrameDecoder): { flags: number; body: Uint8Array }[] {
  const frames = [];
  for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
    frames.push({ flags: frame.flags & ~2, body: frame.bytes.slice(frame.start, frame.end) });
  }
  return frames;
}

const frameArbitrary = fc.record({
  flags: fc.constantFrom(0, FRAME_MORE, FRAME_COMMAND),
  body: fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.integer({ min: 250, max: 600 }).map((size) => new Uint8Array(size).fill(size & 0xff))),
});

describe("frames", () => {
  test("survive any cut of the stream", () => {
    fc.assert(
      fc.property(fc.array(frameArbitrary, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1 }), fc.boolean(), (frames, cuts, late) => {
        const stream = Buffer.concat(frames.map(({ flags, body }) => encodeFrame(flags, body)));
        const decoder = frameDecoder(1000);
        const got = [];
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = cuts[i % cuts.length] ?? 1;
          decoder.push(new Uint8Array(stream.subarray(at, at + size)));
          at += size;
          if (!late) got.push(...drain(decoder));
        }
        got.push(...drain(decoder));
        expect(got).toEqual(frames);
        expect(decoder.partial).toBe(false);
      }),
    );
  });

  test("an unfinished frame is known to be one", () => {
    const decoder = frameDecoder(1000);
    const bytes = encodeFrame(0, new Uint8Array(300));
    for (const byte of bytes.subarray(0, -1)) {
      decoder.push(Uint8Array.of(byte));
      expect(decoder.next()).toBeUndefined();
      expect(decoder.partial).toBe(true);
    }
  });

  test("the size is bounded before anything is allocated", () => {
    for (const header of ["0000000000000003e9", "00000000ffffffff", "7fffffffffffffff", "ffffffffffffffff"]) {
      const decoder = frameDecoder(1000);
      decoder.push(new Uint8Array(Buffer.from(`02${header.padStart(16, "0").slice(-16)}`, "hex")));
      expect(() => decoder.next()).toThrow("exceeds the limit of 1000");
    }
  });

  test("reserved flags and commands with MORE are refused", () => {
    for (const [flags, text] of [[8, "reserved"], [0x80, "reserved"], [FRAME_COMMAND | FRAME_MORE, "MORE"]] as const) {
      const decoder = frameDecoder(1000);
      decoder.push(Uint8Array.of(flags, 0));
      expect(() => decoder.next()).toThrow(text);
    }
  });

  test("64-bit sizes", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const bytes = new Uint8Array(10);
        writeU64(bytes, 1, value);
        expect(Buffer.from(bytes).readBigUInt64BE(1)).toBe(BigInt(value));
        expect(readU64(bytes, 1)).toBe(value);
      }),
    );
  });
});
