import { expect, test } from "bun:test";
import { blobrefOf } from "../../../src/formats/blobref.ts";
import { encodeTreeobj, symlinkObject, valObject, valrefObject } from "../../../src/formats/treeobj.ts";
import { emptyDir, setEntry, undo } from "../../../src/modules/kvs/dir.ts";
import { appendRef, dirrefEntry, dirrefOf, encodeEntry, refCount, refsFrom, typeOf, valBase64, valEntry, valrefEntry } from "../../../src/modules/kvs/entry.ts";
import { normalizeKey } from "../../../src/modules/kvs/key.ts";

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
