import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { FormatError } from "../../src/formats/error.ts";
import { decodeJson, decodeJsonObject, encodeJson, REAL_KEYS } from "../../src/formats/json.ts";

describe("json", () => {
  test("integers beyond 2^53 survive both ways", () => {
    const text = '{"id":9007199254740993,"min":-9223372036854775808,"small":9007199254740991,"x":1.25}';
    const value = decodeJsonObject(text);
    expect(value).toEqual({ id: 9007199254740993n, min: -9223372036854775808n, small: 9007199254740991, x: 1.25 });
    expect(encodeJson(value)).toBe(text);
  });
  test("every 64-bit integer comes back with its value", () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (id) => {
        const back = decodeJsonObject(encodeJson({ id }))["id"];
        expect(BigInt(back as bigint | number)).toBe(id);
      }),
    );
  });
  test("sixteen digits inside a string or a real do not become a bigint", () => {
    expect(decodeJson('["1234567890123456789",0.12345678901234567,1e20]')).toEqual([
      "1234567890123456789",
      Number("0.12345678901234567"),
      1e20,
    ]);
  });
  test("members that C unpacks as reals get a decimal point", () => {
    expect(encodeJson({ timestamp: 5, duration: 0, n: 5, a: [{ expiration: -3 }], t_run: 1.5 })).toBe(
      '{"timestamp":5.0,"duration":0.0,"n":5,"a":[{"expiration":-3.0}],"t_run":1.5}',
    );
    // The key of a "jobspec-update" event.
    expect(encodeJson({ "attributes.system.duration": 7200, "attributes.system.durations": 1 })).toBe('{"attributes.system.duration":7200.0,"attributes.system.durations":1}');
    expect(encodeJson({ "obj size total (MiB)": 1 })).toBe('{"obj size total (MiB)":1.0}');
  });
  test("text inside strings and names is never touched", () => {
    const trap = '{"timestamp":5,"x,\\"timestamp":7}';
    expect(encodeJson({ a: trap })).toBe(JSON.stringify({ a: trap }));
    const piece = fc.constantFrom("{", ",", '"', "\\", "timestamp", '"timestamp":5', ":", "5", "}", '{"duration":1,');
    const nasty = fc.array(piece, { maxLength: 8 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.dictionary(nasty, fc.oneof(nasty, fc.integer())), (value) => {
        const text = encodeJson(value);
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)));
        const plain = Object.keys(value).filter((key) => !REAL_KEYS.includes(key));
        if (plain.length === Object.keys(value).length) expect(text).toBe(JSON.stringify(value));
      }),
      { numRuns: 2000 },
    );
  });
  test("any JSON value survives", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(encodeJson(decodeJson(encodeJson(value)))).toBe(encodeJson(value));
      }),
    );
  });
  test("errors", () => {
    expect(() => decodeJson('{"a":')).toThrow(FormatError);
    expect(() => decodeJson("")).toThrow("invalid JSON");
    expect(() => decodeJsonObject("[1]")).toThrow("the value is not an object");
    expect(() => decodeJsonObject("null")).toThrow("the value is not an object");
    expect(() => encodeJson(undefined)).toThrow("undefined cannot be encoded");
  });
});
