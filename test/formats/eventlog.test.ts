import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  EventlogParser,
  formatEventlog,
  formatEventlogEntry,
  parseEventlog,
  parseEventlogEntry,
} from "../../src/formats/eventlog.ts";

const entry = fc.record(
  {
    timestamp: fc.double({ min: 0, max: 2 ** 33, noNaN: true }).map(Math.abs),
    name: fc.string({ minLength: 1 }),
    context: fc.dictionary(
      fc.string().filter((key) => key !== "__proto__"),
      fc.oneof(fc.string({ unit: "grapheme" }), fc.integer(), fc.constant(2n ** 60n)),
    ),
  },
  { requiredKeys: ["timestamp", "name"] },
);

describe("eventlog", () => {
  test("one line an entry, the timestamp always a real", () => {
    expect(
      formatEventlogEntry({ timestamp: 1552593348.073045, name: "submit", context: { urgency: 16, userid: 5588, flags: 0 } }),
    ).toBe('{"timestamp":1552593348.073045,"name":"submit","context":{"urgency":16,"userid":5588,"flags":0}}\n');
    expect(formatEventlogEntry({ timestamp: 7, name: "free" })).toBe('{"timestamp":7.0,"name":"free"}\n');
    expect(formatEventlogEntry({ timestamp: 7, name: "x", context: { expiration: 5 } })).toContain('"expiration":5.0');
    expect(() => formatEventlogEntry({ timestamp: Number.NaN, name: "x" })).toThrow("no time");
  });
  test("comes back", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 5 }), (entries) => {
        expect(parseEventlog(formatEventlog(entries))).toEqual(entries);
      }),
    );
  });
  test("pieces may end anywhere, even inside a character", () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 4 }), fc.integer({ min: 1, max: 7 }), (entries, size) => {
        const bytes = new TextEncoder().encode(formatEventlog(entries));
        const parser = new EventlogParser();
        const seen = [];
        for (let at = 0; at < bytes.length; at += size) seen.push(...parser.push(bytes.subarray(at, at + size)));
        parser.end();
        expect(seen).toEqual(entries);
      }),
    );
  });
  test("errors", () => {
    expect(() => parseEventlog('{"timestamp":1.0,"name":"a"}\n{"timestamp":2.0,')).toThrow("does not end in a newline");
    expect(() => parseEventlogEntry('{"timestamp":"1","name":"a"}')).toThrow("timestamp: must be");
    expect(() => parseEventlogEntry('{"timestamp":1}')).toThrow("name: must be");
    expect(() => parseEventlogEntry('{"timestamp":1,"name":"a","context":[]}')).toThrow("context: must be");
    expect(() => parseEventlog("\n")).toThrow("invalid JSON");
    expect(() => new EventlogParser().push(Uint8Array.of(0xff, 0x0a))).toThrow("not UTF-8");
  });
});
