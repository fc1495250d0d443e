import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { blobrefOf } from "../../../src/formats/blobref.ts";
import { eachRecord } from "../../../src/formats/blob-records.ts";
import { encodeTreeobj, symlinkObject, valObject, valrefObject } from "../../../src/formats/treeobj.ts";
import { type Dir, dirText, emptyDir, seal, setEntry, undo, valueEntry } from "../../../src/modules/kvs/dir.ts";
import { appendRef, dirrefEntry, dirrefOf, encodeEntry, refCount, refsFrom, typeOf, valBase64, valEntry, valrefEntry } from "../../../src/modules/kvs/entry.ts";
import { normalizeKey } from "../../../src/formats/kvs-key.ts";

const refs = Array.from({ length: 5 }, (_, i) => blobrefOf(Buffer.from(String(i))));

test("entries are read by position", () => {
  const value = valObject(Buffer.from('","type":"dir","ver":1}'));
  expect(valEntry(value.data)).toBe(encodeTreeobj(value));
  expect(valBase64(valEntry(value.data))).toBe(value.data);
  expect(typeOf(valEntry(value.data))).toBe("val");
  expect(typeOf(encodeTreeobj(symlinkObject('x","type":"val","ver":1}', 'n"s')))).toBe("symlink");
  expect(dirrefOf(dirrefEntry(refs[0] as string))).toBe(refs[0] as string);
  expect(typeOf(dirrefEntry(refs[0] as string))).toBe("dirref");
  expect(() => encodeEntry({ type: "val", ver: 2, data: "" })).toThrow("ver");
});

test("valrefs are cut and extended by position", () => {
  let entry = valrefEntry([]);
  expect(refCount(entry)).toBe(0);
  expect(refsFrom(entry, 0)).toEqual([]);
  refs.forEach((ref, i) => {
    entry = appendRef(entry, ref);
    expect(entry).toBe(encodeTreeobj(valrefObject(refs.slice(0, i + 1))));
    expect(refCount(entry)).toBe(i + 1);
  });
  for (let from = 0; from <= 6; from++) expect(refsFrom(entry, from)).toEqual(refs.slice(from));
});

test("changes of a directory are undone in reverse", () => {
  const dir = emptyDir();
  setEntry(dir, "b", "1");
  const changes = [setEntry(dir, "a", "2"), setEntry(dir, "b", undefined), setEntry(dir, "c", "", undefined, [Buffer.from("x")]), setEntry(dir, "a", "3")];
  expect(dir.names).toEqual(["a", "c"]);
  undo(changes);
  expect(dir.names).toEqual(["b"]);
  expect([...dir.entries]).toEqual([["b", "1"]]);
  expect(dir.tails.size).toBe(0);
});

test("keys are normalized as flux-core does", () => {
  const cases = { a: "a", ".a": "a", "a.": "a", "a..b": "a.b", "...a...b..": "a.b", ".": ".", "..": ".", "": "" };
  for (const [key, wanted] of Object.entries(cases)) expect(normalizeKey(key)).toBe(wanted);
});

test("a wide directory that changes in pieces has the blobref of its whole text", () => {
  const put = new Map<string, string>();
  const take = (record: Buffer): void =>
    eachRecord(record, 20, (hash, start, end) => void put.set(`sha1-${record.toString("hex", hash, start)}`, record.toString("utf8", start, end)));
  const sink = { hashName: "sha1" as const, put: take };
  const change = fc.record({ at: fc.nat(3000), kind: fc.constantFrom("set", "remove", "last", "seal"), value: fc.string({ maxLength: 5 }) });
  const run = (changes: readonly { at: number; kind: string; value: string }[]): void => {
    const dir: Dir = emptyDir();
    for (let i = 0; i < 1500; i++) setEntry(dir, `k${String(2 * i).padStart(5, "0")}`, valueEntry(Buffer.from("x"), sink));
    let batch = 1;
    const check = (): void => {
      const ref = seal(dir, { ...sink, batch: batch++, replaced: () => undefined });
      expect(ref).toBe(blobrefOf(Buffer.from(dirText(dir))));
      expect(put.get(ref)).toBe(dirText(dir));
    };
    check();
    for (const { at, kind, value } of changes) {
      const name = `k${String(at).padStart(5, "0")}`;
      if (kind === "set") setEntry(dir, name, valueEntry(Buffer.from(value), sink));
      else if (kind === "remove") setEntry(dir, name, undefined);
      else if (kind === "last") setEntry(dir, `z${at}`, valueEntry(Buffer.from(value), sink));
      else check();
    }
    check();
  };
  fc.assert(fc.property(fc.array(change, { maxLength: 30 }), run), { numRuns: 50 });
});
