// File objects of RFC 37.
import { expect, test } from "bun:test";
import { describeFile, parseArchive, parseFileObject } from "../../src/formats/fileref.ts";
import { formatSize, parseSize } from "../../src/formats/size.ts";
import type { Json } from "../../src/formats/json.ts";

const text = (data: Uint8Array | readonly unknown[]): string => (data instanceof Uint8Array ? Buffer.from(data).toString() : "regions");

test("the examples of the RFC", () => {
  expect(parseFileObject({ path: "appdata/phase1", mode: 16893, mtime: 1677604007, ctime: 1677604007 })).toMatchObject({ path: "appdata/phase1", type: "directory", mode: 0o775 });
  expect(parseFileObject({ path: "src", mode: 41471, data: "/users/fred/work/project" })).toMatchObject({ type: "symlink", target: "/users/fred/work/project" });
  expect(parseFileObject({ path: "data/empty", mode: 33204, size: 0 })).toMatchObject({ type: "file", size: 0, data: new Uint8Array(0) });
  expect(text(parseFileObject({ path: "c.json", mode: 33204, data: { resource: { exclude: "node42" } } }).data)).toBe('{"resource":{"exclude":"node42"}}');
  expect(text(parseFileObject({ path: "d.csv", mode: 33204, encoding: "utf-8", data: "a,b\n", size: 4 }).data)).toBe("a,b\n");
  expect(text(parseFileObject({ path: "v", mode: 33204, encoding: "base64", data: "MzU0MzU=" }).data)).toBe("35435");
  const blob = "sha1-d4a09c5dd5a0d2d570066b6f13e465c73c3f9944";
  expect(parseFileObject({ path: "k", mode: 33261, encoding: "blobvec", data: [[0, 1048576, blob]] }).data).toEqual([{ offset: 0, size: 1048576, blobref: blob }]);
});

test("an archive is a list or a dictionary", () => {
  expect(parseArchive([{ path: "a", mode: 33204 }]).map((file) => file.path)).toEqual(["a"]);
  expect(parseArchive({ b: { mode: 33204 } }).map((file) => file.path)).toEqual(["b"]);
  expect(() => parseArchive("x")).toThrow("neither a list nor a dictionary");
});

test.each([
  [{ path: "/etc/passwd", mode: 33204 }, "not a relative path"],
  [{ path: "a/../../b", mode: 33204 }, "not a relative path"],
  [{ path: "", mode: 33204 }, "not a relative path"],
  [{ path: "a" }, "no mode"],
  [{ mode: 33204 }, "no path"],
  [{ path: "a", mode: 0o060000 }, "mode 60000 is neither"],
  [{ path: "a", mode: 0o120777 }, "no target"],
  [{ path: "a", mode: 33204, encoding: "rot13", data: "x" }, 'encoding "rot13" is not known'],
  [{ path: "a", mode: 33204, encoding: "blobvec", data: [[0, 1, "sha1-x"]] }, "a part of it"],
  [7, "not an object"],
] as [Json, string][])("%j: %s", (value, problem) => {
  expect(() => parseFileObject(value)).toThrow(problem);
});

test("lines of a list", () => {
  expect(describeFile(parseFileObject({ path: "a/b", mode: 0o100644, size: 42 }))).toBe("f 0644       42 a/b");
  expect(describeFile(parseFileObject({ path: "l", mode: 0o120777, data: "x" }))).toBe("l 0777        0 l");
});

test("sizes", () => {
  expect(["10", "1.5K", "10m", "1G", "1e3"].map(parseSize)).toEqual([10, 1536, 10 << 20, 1 << 30, 1000]);
  expect(["", "K", "1X", "-1"].map(parseSize)).toEqual([undefined, undefined, undefined, undefined]);
  expect([0, 1023, 1024, 1536, 10 << 20, 1 << 30].map(formatSize)).toEqual(["0", "1023", "1K", "1.5K", "10M", "1G"]);
});
