import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { eachRecord, newRecord, RECORD_HEAD_BYTES } from "../../src/formats/blob-records.ts";

function record(hash: Uint8Array, blob: Uint8Array): Buffer {
  const made = newRecord(hash.length, blob.length);
  made.set(hash, RECORD_HEAD_BYTES);
  made.set(blob, RECORD_HEAD_BYTES + hash.length);
  return made;
}

const some = fc.record({ hash: fc.uint8Array({ minLength: 20, maxLength: 20 }), blob: fc.uint8Array({ maxLength: 300 }) });

test("records come back in order", () => {
  fc.assert(
    fc.property(fc.array(some, { maxLength: 20 }), (items) => {
      const all = Buffer.concat(items.map(({ hash, blob }) => record(hash, blob)));
      const got: { hash: Uint8Array; blob: Uint8Array }[] = [];
      eachRecord(all, 20, (hash, start, end) => got.push({ hash: new Uint8Array(all.subarray(hash, start)), blob: new Uint8Array(all.subarray(start, end)) }));
      expect(got).toEqual(items.map(({ hash, blob }) => ({ hash: new Uint8Array(hash), blob: new Uint8Array(blob) })));
    }),
  );
});

test("a payload that was cut is refused", () => {
  const all = record(new Uint8Array(20), new Uint8Array(10));
  const whole = Buffer.concat([all, all]);
  for (let length = 1; length < whole.length; length++) {
    if (length === all.length) continue;
    expect(() => eachRecord(whole.subarray(0, length), 20, () => undefined)).toThrow("cut");
  }
});
