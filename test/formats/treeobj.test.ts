import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { blobrefOf } from "../../src/formats/blobref.ts";
import {
  dirObject,
  dirrefObject,
  encodeTreeobj,
  parseDir,
  parseTreeobj,
  symlinkObject,
  valData,
  valObject,
  valrefObject,
  type Treeobj,
} from "../../src/formats/treeobj.ts";

const text = (value: string) => new TextEncoder().encode(value);
const ref = blobrefOf(text("x"));

const leaf: fc.Arbitrary<Treeobj> = fc.oneof(
  fc.uint8Array({ maxLength: 20 }).map(valObject),
  fc.array(fc.constant(ref), { maxLength: 3 }).map((refs) => valrefObject(refs)),
  fc.constant(dirrefObject(ref)),
  fc
    .tuple(fc.string(), fc.option(fc.string(), { nil: undefined }))
    .map(([target, namespace]) => symlinkObject(target, namespace)),
);
const name = fc.oneof(fc.string(), fc.constantFrom("__proto__", "constructor", "10", "9", "ver"));
const directory = fc
  .array(fc.tuple(name, fc.oneof(leaf, fc.array(fc.tuple(name, leaf), { maxLength: 3 }).map(make))), { maxLength: 5 })
  .map(make);

function make(entries: [string, Treeobj][]): Treeobj {
  const dir = dirObject();
  for (const [key, value] of entries) dir.data[key] = value;
  return dir;
}

describe("tree objects", () => {
  test("a val carries the bytes of RFC 11", () => {
    expect(valObject(text("422\n")).data).toBe("NDIyCg==");
    expect(valData(valObject(text("422\n")))).toEqual(text("422\n"));
    expect(valData(valObject(new Uint8Array()))).toEqual(new Uint8Array());
  });
  test("text is independent of the order of entries", () => {
    const a = dirObject({ b: valObject(text("1")), a: symlinkObject("x.y", "ns"), "10": valObject(text("")), "9": dirObject() });
    const b = dirObject({ "9": dirObject(), "10": valObject(text("")), a: symlinkObject("x.y", "ns"), b: valObject(text("1")) });
    expect(encodeTreeobj(a)).toBe(encodeTreeobj(b));
    expect(encodeTreeobj(a)).toBe(
      '{"data":{"10":{"data":"","type":"val","ver":1},"9":{"data":{},"type":"dir","ver":1},' +
        '"a":{"data":{"namespace":"ns","target":"x.y"},"type":"symlink","ver":1},"b":{"data":"MQ==","type":"val","ver":1}},"type":"dir","ver":1}',
    );
  });
  test("any object comes back", () => {
    fc.assert(
      fc.property(fc.oneof(leaf, directory), (obj) => {
        const encoded = encodeTreeobj(obj);
        expect(encodeTreeobj(parseTreeobj(encoded))).toBe(encoded);
        expect(JSON.parse(encoded)).toEqual(JSON.parse(JSON.stringify(obj)));
      }),
      { numRuns: 500 },
    );
  });
  test("an empty directory is the blob stock Flux starts from", () => {
    expect(encodeTreeobj(dirObject())).toBe('{"data":{},"type":"dir","ver":1}');
    expect(parseDir(text('{"ver":1,"type":"dir","data":{}}')).type).toBe("dir");
    expect(() => parseDir(text(encodeTreeobj(dirrefObject(ref))))).toThrow("expected a dir, found a dirref");
  });
  test("errors name the member", () => {
    const cases: [string, string][] = [
      ['{"ver":2,"type":"val","data":""}', "ver: must be 1, not 2"],
      ['{"ver":1,"type":"x","data":""}', 'type: "x" is not a type'],
      ['{"ver":1,"data":""}', "type: nothing is not a type"],
      ['{"ver":1,"type":"val","data":"abc"}', "data: must be base64"],
      ['{"ver":1,"type":"val","data":"","more":1}', "more: unknown member"],
      ['{"ver":1,"type":"valref","data":["sha1-x"]}', 'data[0]: "sha1-x" is not a blobref'],
      ['{"ver":1,"type":"dirref","data":[]}', "exactly one"],
      ['{"ver":1,"type":"symlink","data":{"target":1}}', "data.target: must be a string"],
      ['{"ver":1,"type":"dir","data":{"a":{"ver":1,"type":"dir","data":{"b":3}}}}', "data.a.data.b: must be an object"],
      ["[]", "must be an object"],
    ];
    for (const [input, message] of cases) expect(() => parseTreeobj(input), input).toThrow(message);
    expect(() => valData({ ver: 1, type: "val", data: "a!==" })).toThrow("not base64");
    const deep = '{"ver":1,"type":"dir","data":{"a":'.repeat(300) + '{"ver":1,"type":"dir","data":{}}' + "}}".repeat(300);
    expect(() => parseTreeobj(deep)).toThrow("more than 256");
  });
});
