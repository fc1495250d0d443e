import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
  FluidGenerator,
  fluidTimestamp_ms,
  formatJobId,
  JOB_ID_FORMS,
  jobKvsPath,
  parseJobId,
  toJobId,
} from "../../src/formats/fluid.ts";

const id = 6731191091817518n;

describe("job ids", () => {
  test("the examples of RFC 19", () => {
    expect(formatJobId(id, "dec")).toBe("6731191091817518");
    expect(formatJobId(id, "f58")).toBe("ƒuZZybuNNy");
    expect(formatJobId(id, "f58plain")).toBe("fuZZybuNNy");
    expect(formatJobId(id, "hex")).toBe("0x17e9fb8df16c2e");
    expect(formatJobId(id, "dothex")).toBe("0017.e9fb.8df1.6c2e");
    expect(formatJobId(id, "kvs")).toBe("job.0017.e9fb.8df1.6c2e");
    expect(formatJobId(id, "words")).toBe("reform-remote-galileo--heart-package-academy");
    for (const text of ["🚹💂🙌😳💱🏃", "😄😹🎇📥🏧🙉🔞", "🚹💂🈳💰🎩🏃"])
      expect(formatJobId(parseJobId(text), "emoji")).toBe(text);
    expect(formatJobId(575n, "emoji")).toBe("🎌");
    expect(formatJobId(576n, "emoji")).toBe("😄😃");
    expect(parseJobId("0xedaf97d000000")).toBe(0xedaf97d000000n);
    expect(parseJobId("000e.daf9.7d00.0000")).toBe(0xedaf97d000000n);
    expect(parseJobId("random-idea-yoyo--sugar-printer-academy")).toBeGreaterThan(0n);
  });
  test("every form comes back", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.constantFrom(...JOB_ID_FORMS), (value, form) => {
        expect(parseJobId(`  ${formatJobId(value, form)}\n`)).toBe(value);
      }),
      { numRuns: 1000 },
    );
  });
  test("zero has a digit in every form", () => {
    expect(formatJobId(0n, "f58")).toBe("ƒ1");
    for (const form of JOB_ID_FORMS) expect(parseJobId(formatJobId(0n, form))).toBe(0n);
  });
  test("what is no job id", () => {
    for (const text of [
      "",
      "  ",
      "ƒ",
      "f0",
      "fIl",
      "bar",
      "12x",
      "0x",
      "-1",
      "1.2.3",
      "18446744073709551616",
      "ƒzzzzzzzzzzzz",
      "1 2",
      "a-b-c",
      "reform-remote-galileo--heart-package-nonsense",
      "0x10000000000000000",
      "😃x",
      "12345.0.0.0",
    ]) {
      expect(() => parseJobId(text), text).toThrow("invalid job id");
    }
  });
  test("numbers of payloads", () => {
    expect(toJobId(7)).toBe(7n);
    expect(toJobId(2n ** 63n)).toBe(2n ** 63n);
    for (const bad of [-1, 1.5, 2 ** 53, 2n ** 64n, -1n, "7", null, undefined, {}])
      expect(() => toJobId(bad)).toThrow("invalid job id");
  });
  test("KVS path", () => {
    expect(jobKvsPath(id)).toBe("job.0017.e9fb.8df1.6c2e");
    expect(jobKvsPath(id, "eventlog")).toBe("job.0017.e9fb.8df1.6c2e.eventlog");
  });
});

describe("generator", () => {
  test("places timestamp, generator and sequence in their bits", () => {
    let now = 1000;
    const generator = new FluidGenerator(() => now, 3, 2 ** 31);
    expect(generator.next()).toBe(((2n ** 31n) << 24n) | (3n << 10n));
    expect(generator.next()).toBe(((2n ** 31n) << 24n) | (3n << 10n) | 1n);
    now += 5.7;
    const later = generator.next();
    expect(fluidTimestamp_ms(later)).toBe(2 ** 31 + 5);
    expect(later & 1023n).toBe(0n);
    expect(later > 2n ** 53n).toBe(true);
  });
  test("ids stay unique and ascending however fast they are made and whatever the clock does", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 20 }), (steps) => {
        let now = 0;
        const generator = new FluidGenerator(() => now, 0);
        let last = -1n;
        for (const step of steps) {
          now += step;
          for (let i = 0; i < 700; i++) {
            const next = generator.next();
            if (next <= last) throw new Error(`${next} after ${last}`);
            last = next;
          }
        }
      }),
      { numRuns: 20 },
    );
  });
  test("the end of the timestamp is an error", () => {
    let now = 0;
    const generator = new FluidGenerator(() => now, 0, 2 ** 40 - 1);
    generator.next();
    now = 1;
    expect(() => generator.next()).toThrow("40 bits");
    expect(() => new FluidGenerator(() => 0, 16384)).toThrow("16383");
  });
});
