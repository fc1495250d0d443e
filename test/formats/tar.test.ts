// Tar archives: what we write, tar(1) reads, and the reverse; damage is refused.
import { afterAll, describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { FormatError } from "../../src/formats/error.ts";
import { tarEnd, type TarEntry, tarHeader, tarPadding, TarReader } from "../../src/formats/tar.ts";

const OWNER = { uid: 1000, gid: 100 };
const folder = mkdtempSync(join(tmpdir(), "tar-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

interface Item {
  readonly path: string;
  readonly data?: string;
  readonly target?: string;
}

function archive(items: readonly Item[]): Buffer {
  const parts = items.flatMap(({ path, data = "", target }) => {
    const bytes = Buffer.from(data);
    const entry = { type: target === undefined ? "file" : "symlink", path, target: target ?? "", size_bytes: bytes.length, mtime: 1_700_000_000 } as const;
    return [tarHeader(entry, OWNER), bytes, tarPadding(bytes.length)];
  });
  return Buffer.concat([...parts, tarEnd()]);
}

async function* chunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(bytes: Uint8Array, chunk = 1000): Promise<(Item & { type: TarEntry["type"] })[]> {
  const reader = new TarReader(chunks(bytes, chunk));
  const found = [];
  for (let entry = await reader.next(); entry !== undefined; entry = await reader.next()) {
    const data = Buffer.from(await reader.data()).toString();
    found.push({ type: entry.type, path: entry.path, ...(entry.type === "symlink" ? { target: entry.target } : { data }) });
  }
  return found;
}

const LONG = `${"d".repeat(90)}/${"e".repeat(90)}/${"f".repeat(120)}`;
const ITEMS: readonly Item[] = [
  { path: "a/b", data: "1" },
  { path: "empty", data: "" },
  { path: "block", data: "x".repeat(512) },
  { path: "größe/ƒ", data: "ä" },
  { path: "link", target: "a.b" },
  { path: `${"p".repeat(120)}/${"n".repeat(80)}`, data: "split" },
  { path: LONG, data: "pax" },
  { path: "longlink", target: "t".repeat(200) },
];

test.each([1, 511, 512, 100_000])("what was written is read, in chunks of %d bytes", async (size) => {
  expect(await read(archive(ITEMS), size)).toEqual(ITEMS.map((item) => ({ type: item.target === undefined ? "file" : "symlink", ...item })));
});

test("tar(1) reads what we write", () => {
  const file = join(folder, "ours.tar");
  writeFileSync(file, archive(ITEMS));
  const { stdout, stderr, status } = spawnSync("tar", ["tf", file], { encoding: "utf8", env: { ...process.env, LC_ALL: "C.UTF-8" } });
  expect([status, stderr]).toEqual([0, ""]);
  expect(stdout.trim().split("\n").map((name) => name.replaceAll(/(?:\\\d{3})+/g, (octal) => Buffer.from(octal.slice(1).split("\\").map((digits) => Number.parseInt(digits, 8))).toString()))).toEqual(ITEMS.map(({ path }) => path));
});

test.each(["gnu", "ustar", "pax"])("we read the format %s of tar(1)", async (format) => {
  const source = join(folder, format);
  const items = ITEMS.filter(({ path, target = "" }) => format !== "ustar" || (path !== LONG && /^[ -~]*$/.test(path) && target.length < 100));
  for (const { path, data, target } of items) {
    mkdirSync(dirname(join(source, path)), { recursive: true });
    if (target === undefined) writeFileSync(join(source, path), data ?? "");
    else symlinkSync(target, join(source, path));
  }
  const { stdout, stderr, status } = spawnSync("tar", ["cf", "-", `--format=${format}`, "-C", source, ...(format === "ustar" ? items.map(({ path }) => path) : ["."])], { maxBuffer: 1 << 24 });
  expect([status, stderr.toString()]).toEqual([0, ""]);
  const found: Item[] = (await read(stdout)).filter(({ type }) => type !== "other").map((item) => ({ path: item.path.replace(/^\.\//, ""), ...(item.type === "symlink" ? { target: item.target ?? "" } : { data: item.data ?? "" }) }));
  expect(found.toSorted((a, b) => (a.path < b.path ? -1 : 1))).toEqual(items.toSorted((a, b) => (a.path < b.path ? -1 : 1)));
});

test("an entry that nobody reads is passed over", async () => {
  const reader = new TarReader(chunks(archive(ITEMS), 300));
  let count = 0;
  while ((await reader.next()) !== undefined) count++;
  expect(count).toBe(ITEMS.length);
});

describe("damage", () => {
  const whole = archive(ITEMS);

  test("anywhere, it is a FormatError or an archive", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), async (at, byte, end) => {
        const damaged = Buffer.from(whole.subarray(0, end));
        if (at < damaged.length) damaged[at] = byte;
        try {
          await read(damaged);
        } catch (err) {
          expect(err).toBeInstanceOf(FormatError);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("a cut within an entry is said", async () => {
    await expect(read(whole.subarray(0, 600))).rejects.toThrow("it ends within an entry");
  });

  test("what is no archive is said", async () => {
    await expect(read(Buffer.from("x".repeat(1000)))).rejects.toThrow("checksum");
  });
});
