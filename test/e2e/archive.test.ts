// Archives: files go into the instance and come out the same, by `flux archive` and by jobs that stage them in.
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { chmodSync, closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Instance, type Result, startInstance } from "./flux.ts";

let instance: Instance;
let folder: string;

beforeAll(async () => {
  instance = await startInstance(2);
  folder = mkdtempSync(join(tmpdir(), "flux-archive-"));
  makeFiles(join(folder, "data"));
});
afterAll(async () => {
  await instance.stop();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  await archive("remove", "-f");
});

const BIG = Buffer.from(Array.from({ length: 2_500_000 }, (_, i) => (i * 2654435761) >>> 24));

function makeFiles(path: string): void {
  mkdirSync(join(path, "sub"), { recursive: true });
  writeFileSync(join(path, "text"), "some text\n");
  writeFileSync(join(path, "bytes"), Buffer.from([0, 255, 1]));
  writeFileSync(join(path, "empty"), "");
  writeFileSync(join(path, "big"), BIG);
  writeFileSync(join(path, "sub", "program"), "#!/bin/sh\necho staged\n");
  chmodSync(join(path, "sub", "program"), 0o750);
  symlinkSync("text", join(path, "link"));
  const fd = openSync(join(path, "sparse"), "w");
  ftruncateSync(fd, 9_000_000);
  writeSync(fd, Buffer.from("island"), 0, 6, 4_000_000);
  closeSync(fd);
  chmodSync(join(path, "sub"), 0o500);
}

async function archive(...args: string[]): Promise<Result> {
  return instance.flux(["archive", ...args], { cwd: folder });
}

function expectSame(copy: string): void {
  const path = join(folder, "data");
  expect(readdirSync(copy).sort()).toEqual(readdirSync(path).sort());
  for (const name of ["text", "bytes", "empty", "big", "sparse", "sub/program"]) {
    expect(readFileSync(join(copy, name)).equals(readFileSync(join(path, name)))).toBe(true);
    expect(statSync(join(copy, name)).mode).toBe(statSync(join(path, name)).mode);
  }
  expect(readlinkSync(join(copy, "link"))).toBe("text");
  expect(statSync(join(copy, "sub")).mode & 0o777).toBe(0o500);
  // A hole stays one.
  expect(statSync(join(copy, "sparse")).blocks).toBeLessThan(1000);
}

test("files come out as they went in", async () => {
  expect(await archive("create", "data")).toMatchObject({ code: 0, stdout: "", stderr: "" });
  const out = mkdtempSync(join(folder, "out-"));
  expect(await archive("extract", "-C", out)).toMatchObject({ code: 0, stdout: "", stderr: "" });
  expectSame(join(out, "data"));
  const again = await archive("extract", "-C", out);
  expect([again.code, again.stderr]).toEqual([1, "flux-archive: data/big: Attempt to overwrite existing file\n"]);
  expect((await archive("extract", "--overwrite", "-C", out)).code).toBe(0);
  expectSame(join(out, "data"));
});

test("lists: names, long, JSON, patterns", async () => {
  await archive("create", "-v", "data/text", "data/sub");
  expect((await archive("list")).stdout).toBe("data/text\ndata/sub\ndata/sub/program\n");
  expect((await archive("list", "--long")).stdout).toBe("f 0644       10 data/text\nd 0500        0 data/sub\nf 0750       22 data/sub/program\n");
  expect((await archive("list", "*program")).stdout).toBe("data/sub/program\n");
  const raw = JSON.parse((await archive("list", "--raw", "data/text")).stdout) as Record<string, unknown>;
  expect(raw).toMatchObject({ path: "data/text", mode: 0o100644, size: 10, encoding: "utf-8", data: "some text\n" });
  expect((await archive("list", "--raw", "data/text")).stdout).toMatch(/"ctime":\d+[,}]/);
  expect((await archive("extract", "-t", "*text")).stdout).toBe("data/text\n");
});

test("names, adding, replacing, removing", async () => {
  await archive("create", "-n", "other", "-C", "data", "text");
  const twice = await archive("create", "-n", "other", "data/text");
  expect([twice.code, twice.stderr]).toEqual([1, "flux-archive: archive.other: key exists\n"]);
  await archive("create", "-n", "other", "--append", "data/bytes");
  expect((await archive("list", "-n", "other")).stdout).toBe("text\ndata/bytes\n");
  await archive("create", "-n", "other", "--overwrite", "data/empty");
  expect((await archive("list", "-n", "other")).stdout).toBe("data/empty\n");
  expect((await archive("remove", "-n", "other")).code).toBe(0);
  const gone = await archive("remove", "-n", "other");
  expect([gone.code, gone.stderr]).toEqual([1, "flux-archive: archive.other does not exist\n"]);
  expect((await archive("remove", "-n", "other", "-f")).code).toBe(0);
});

test("--preserve keeps references to what is stored; chunks have the size asked for", async () => {
  await archive("create", "--preserve", "--chunksize=1M", "data/big");
  const { stdout } = await instance.flux(["kvs", "ls", "archive.main_blobs"]);
  expect(stdout.trim().split(/\s+/)).toHaveLength(Math.ceil(BIG.length / (1 << 20)));
  await archive("remove");
  expect((await instance.flux(["kvs", "ls", "archive.main_blobs"])).code).toBe(1);
});

test("jobs stage files in, on each of their nodes", async () => {
  await archive("create", "-C", "data", "sub", "big");
  const { stdout, stderr } = await instance.flux(["run", "-N2", "--label-io", "-o", "stage-in", "sh", "-c", "{{tmpdir}}/sub/program; wc -c <{{tmpdir}}/big"]);
  expect(stderr).toBe("");
  expect(stdout.trim().split("\n").sort()).toEqual([`0: ${BIG.length}`, "0: staged", `1: ${BIG.length}`, "1: staged"]);
});

test("stage-in of other archives, of some files, to another place", async () => {
  await archive("create", "-n", "a", "-C", "data", "text");
  await archive("create", "-n", "b", "-C", "data", "bytes", "empty");
  const all = await instance.flux(["run", "-o", "stage-in.names=a,b", "ls", "{{tmpdir}}"]);
  expect(all.stdout).toBe("bytes\nempty\ntext\n");
  const some = await instance.flux(["run", "-o", "stage-in.names=a,b", "-o", "stage-in.pattern=*y*", "ls", "{{tmpdir}}"]);
  expect(some.stdout).toBe("bytes\nempty\n");
  const place = mkdtempSync(join(folder, "place-"));
  await instance.flux(["run", "-N2", "-o", "stage-in.names=a", "-o", `stage-in.destination=global:${place}`, "true"]);
  expect(readdirSync(place)).toEqual(["text"]);
});

test.each([
  ["stage-in.names=nosuch", "could not lookup archive.nosuch in primary KVS namespace: No such file or directory"],
  ["stage-in.destination=moon:/x", "destination prefix must be local: or global:"],
  ["stage-in.destination=/nowhere", "/nowhere: No such file or directory"],
  ["stage-in.colour=red", "Error parsing stage_in shell option: stage-in.colour"],
])("-o %s: %s", async (option, problem) => {
  await archive("create", "data/text");
  const { code, stderr } = await instance.flux(["run", "-o", option, "true"]);
  expect(code).toBe(1);
  expect(stderr).toContain(problem);
});

test("an archive cannot write outside of its place", async () => {
  const list = JSON.stringify([
    { path: "door", mode: 0o120777, data: "/tmp" },
    { path: "door/flux-archive-escaped", mode: 0o100644, encoding: "utf-8", data: "x", size: 1 },
  ]);
  await instance.flux(["kvs", "put", `archive.evil=${list}`]);
  const out = mkdtempSync(join(folder, "out-"));
  const through = await archive("extract", "-n", "evil", "-C", out);
  expect(through.code).toBe(1);
  expect(through.stderr).toContain("door is not a directory");
  await instance.flux(["kvs", "put", `archive.evil=${JSON.stringify([{ path: "../x", mode: 0o100644 }])}`]);
  expect((await archive("extract", "-n", "evil", "-C", out)).stderr).toContain("not a relative path");
});

test("wrong use", async () => {
  expect((await archive("create", "nosuch")).stderr).toBe("flux-archive: nosuch: No such file or directory\n");
  expect((await archive("create", "/dev/null")).stderr).toBe("flux-archive: /dev/null: neither a file, nor a directory, nor a symbolic link\n");
  expect((await archive("create", "-C", "nosuch", "x")).stderr).toBe("flux-archive: chdir nosuch: No such file or directory\n");
  expect((await archive("create", "--append", "--overwrite", "data")).stderr).toBe("flux-archive: --overwrite and --append cannot be used together\n");
  expect((await archive("list", "-n", "nosuch")).stderr).toBe("flux-archive: KVS lookup archive.nosuch: No such file or directory\n");
  const late = await archive("extract", "-n", "nosuch", "--waitcreate=50ms");
  expect([late.code, late.stderr]).toEqual([1, "flux-archive: archive.nosuch: key was not created within timeout window\n"]);
});

test("--waitcreate waits for another", async () => {
  const out = mkdtempSync(join(folder, "out-"));
  const waiting = archive("extract", "--waitcreate", "-n", "later", "-C", out);
  await archive("create", "-n", "later", "-C", "data", "text");
  expect((await waiting).code).toBe(0);
  expect(readdirSync(out)).toEqual(["text"]);
  await archive("remove", "-n", "later");
});
