// The content store from the command line: blobs, dumps and their restoring, checks and repairs, the freeing of space.
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sandbox, type Sandbox } from "./sandbox.ts";

const PUTS = 'flux kvs put a.b=1 a.long="$(seq -s, 1 500)" empty= größe.ƒ=ä && flux kvs link a.b link && flux kvs link --target-namespace=other x.y far';
/** What the keys of PUTS come back as, below a directory. */
const gets = (dir: string): string => `flux kvs get ${dir}a.b ${dir}empty ${dir}größe.ƒ; flux kvs get ${dir}a.long | md5sum; flux kvs readlink ${dir}link ${dir}far`;
const start = (...args: string[]): string[] => ["start", ...args];

test("blobs are stored, loaded by their names, and kept on rank 0", async () => {
  await using box = sandbox();
  const script = `ref=$(printf hello | flux exec -r 1 -n true; printf hello | flux content store); echo $ref
    flux exec -r 2 flux content load $ref; echo; flux content flush; flux content dropcache; flux content load -b $ref; echo
    printf abcdef | flux content store --chunksize=4 | flux content load; echo; flux content store </dev/null
    flux content load sha1-0000000000000000000000000000000000000000; flux content load nonsense`;
  const { stdout, stderr } = await box.flux(...start("-s3", script));
  expect(stdout).toBe("sha1-aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d\nhello\nhello\nabcdef\nsha1-da39a3ee5e6b4b0d3255bfef95601890afd80709\n");
  expect(stderr).toContain("flux-content: error loading blob: No such file or directory\nflux-content: error loading blob: Invalid argument\n");
});

test("the first module that keeps blobs is the one, where none was asked for", async () => {
  await using box = sandbox();
  const script = "flux getattr content.backing-module; flux module load content; flux module load content-files; flux module load kvs; flux getattr content.backing-module; flux module remove kvs; flux module remove content-files; flux module load content-sqlite";
  const { stdout, stderr } = await box.flux(...start("-Sbroker.rc1_path=", "-Sbroker.rc3_path=", script));
  expect(stdout).toBe("content-files\n");
  expect(stderr).toContain("content backing store cannot be changed on the fly");
});

describe("flux dump and restore", () => {
  test.each(["tar", "tgz", "tar.zst"])("all keys come back by way of .%s", async (ending) => {
    await using box = sandbox();
    const file = join(box.dir, `x.${ending}`);
    const before = await box.flux(...start(`${PUTS} && ${gets("")} && flux dump -q ${file}`));
    expect([before.code, before.stderr]).toEqual([0, ""]);
    const after = await box.flux(...start(`flux restore -q --key=r ${file}; ${gets("r.")}`));
    expect(after.stdout).toBe(before.stdout);
    const root = await box.flux(...start(`-Scontent.restore=${file}`, gets("")));
    expect(root.stdout).toBe(before.stdout);
  });

  test("through pipes, with progress", async () => {
    await using box = sandbox();
    const { stdout, stderr } = await box.flux(...start("-Sbroker.rc3_path=", "flux kvs put a=1 b=2; flux dump -v - | flux restore -v --key=r -; flux kvs get r.a"));
    expect(stdout).toBe("1\n");
    expect(stderr.match(/^a$/gm)).toHaveLength(2);
    expect(stderr).toMatch(/flux-restore: writing snapshot sha1-[0-9a-f]{8} to KVS key 'r'\n/);
  });

  test("wrong use", async () => {
    await using box = sandbox();
    writeFileSync(join(box.dir, "bad.tar"), "not a tar archive, but long enough to be more than a header of one".repeat(10));
    const script = `cd ${box.dir}; flux dump x.bar; flux dump nodir/x.tar; flux restore x.tar; flux restore --checkpoint bad.tar; flux restore --key=k none.tar; flux restore --key=k bad.tar; flux restore --key=k --size-limit=x bad.tar; true`;
    const { stderr } = await box.flux(...start(script));
    expect(stderr.split("\n").slice(0, -1)).toEqual([
      expect.stringContaining("flux-dump: No such format 'x.bar': it must end in .tar,"),
      "flux-dump: Failed to open 'nodir/x.tar': No such file or directory",
      "flux-restore: Please specify a restore target with --checkpoint or --key",
      "flux-restore: please unload kvs module before using --checkpoint",
      "flux-restore: Failed to open 'none.tar': No such file or directory",
      "flux-restore: bad.tar: Unrecognized archive format",
      "flux-restore: invalid value 'x' for --size-limit: expected a number of bytes such as 100 or 2.5M",
    ]);
  });

  test("a file that isn't there keeps an instance from starting, and what it has from being lost", async () => {
    await using box = sandbox();
    const state = join(box.dir, "state");
    mkdirSync(state);
    await box.flux(...start(`-Sstatedir=${state}`, "flux kvs put keep=me"));
    const { code, stderr } = await box.flux(...start(`-Sstatedir=${state}`, `-Scontent.restore=${box.dir}/none.tgz`, "true"));
    expect(code).toBe(1);
    expect(stderr).toContain("none.tgz");
    expect((await box.flux(...start(`-Sstatedir=${state}`, "flux kvs get keep"))).stdout).toBe("me\n");
  });
});

describe("flux shutdown", () => {
  test("shows the log until the instance has ended", async () => {
    await using box = sandbox();
    const instance = box.start(...start("-s2", `echo $FLUX_URI >${box.dir}/uri; echo up; exec sleep 60`));
    await instance.saw("up");
    const { code, stderr } = await box.sh(`flux shutdown $(cat ${box.dir}/uri)`);
    expect([code, (await instance.finished).code]).toEqual([0, 129]);
    expect(stderr).toContain("rc2-fail: run->cleanup");
    expect(stderr).toContain("rc3-success: finalize->goodbye");
  });

  test("--dump leaves an archive, from which another instance starts", async () => {
    await using box = sandbox();
    const file = join(box.dir, "last.tgz");
    await box.flux(...start(`flux kvs put a=1; flux shutdown --quiet --dump=${file}; sleep 60`));
    expect((await box.flux(...start(`-Scontent.restore=${file}`, "flux kvs get a"))).stdout).toBe("1\n");
  });

  test("--gc: the next start has what there was, and nothing else", async () => {
    await using box = sandbox();
    const state = join(box.dir, "state");
    mkdirSync(state);
    const attrs = [`-Sstatedir=${state}`, "-Scontent.restore=auto"];
    const first = await box.flux(...start(...attrs, `flux run echo output; for i in $(seq 1 20); do flux kvs put big="$i$(seq -s, 1 100)"; done; flux shutdown --quiet --gc; sleep 60`));
    expect(first.stderr).toContain(`flux-shutdown: shutdown will dump KVS to ${state}/dump/ (this may take some time)`);
    expect(readlinkSync(join(state, "dump", "RESTORE"))).toMatch(/^\d{8}_\d{6}\.tgz$/);
    const blobs = (): number => {
      const db = new Database(join(state, "content.sqlite"), { readonly: true });
      try {
        return db.query<{ n: number }, []>("SELECT count(1) AS n FROM objects").get()?.n ?? 0;
      } finally {
        db.close();
      }
    };
    const before = blobs();
    const second = await box.flux(...start(...attrs, "flux jobs -a -no '{name} {status_abbrev}'; flux job attach $(flux job last); flux kvs get big | cut -c1-4; flux startlog | wc -l"));
    expect([second.stdout, second.stderr]).toEqual(["echo CD\noutput\n201,\n2\n", ""]);
    expect(blobs()).toBeLessThan(before);
    expect(existsSync(join(state, "dump", "RESTORE"))).toBe(false);
    expect(readdirSync(join(state, "dump"))).toHaveLength(1);
  });
});

/** An instance in a state directory that has keys in `keep`, and in `hurt` some whose blobs are taken away afterwards. */
async function damagedStore(box: Sandbox): Promise<string> {
  const state = join(box.dir, "state");
  mkdirSync(state);
  const long = (text: string): string => `"${text}$(seq -s, 1 100)"`;
  const script = `flux kvs put keep.a=${long("a")} hurt.value=${long("v")} hurt.dir.x=${long("x")}; flux kvs put --append hurt.value=${long("w")}; flux kvs get --treeobj hurt.value; flux kvs get --treeobj hurt.dir`;
  const { stdout } = await box.flux(...start(`-Sstatedir=${state}`, script));
  const [value = "", dir = ""] = stdout.trim().split("\n");
  const refs = [value, dir].map((text) => (JSON.parse(text) as { data: string[] }).data.at(-1) ?? "");
  const db = new Database(join(state, "content.sqlite"));
  for (const ref of refs) expect(db.run("DELETE FROM objects WHERE hash = ?1", [Buffer.from(ref.slice(5), "hex")]).changes).toBe(1);
  db.close();
  return state;
}

describe("flux fsck", () => {
  test("of a whole store is quiet", async () => {
    await using box = sandbox();
    const { code, stdout, stderr } = await box.flux(...start("flux kvs put a=1; flux kvs sync; flux fsck && flux fsck --rootref=$(flux kvs getroot -b)"));
    expect([code, stdout.replace(/[\d-]{10}T[\d:]{8}/, "T"), stderr]).toEqual([0, "Checking integrity of checkpoint from T\n", ""]);
  });

  test("finds what is missing, and repairs it", async () => {
    await using box = sandbox();
    const state = await damagedStore(box);
    const found = await box.flux(...start(`-Sstatedir=${state}`, "flux fsck"));
    expect(found.code).toBe(1);
    expect(found.stderr).toContain("flux-fsck: hurt.value: missing blobref(s)\n");
    expect(found.stderr).toContain("flux-fsck: hurt.dir: missing dirref blobref\n");
    expect(found.stderr).toContain("flux-fsck: Total errors: 2\n");
    const repaired = await box.flux(...start(`-Sstatedir=${state}`, "flux modprobe remove --dry-run all >/dev/null; flux fsck --repair; true"));
    expect(repaired.stderr).toContain("please unload kvs module before using flux-fsck --repair");
    const RC = ["-Sbroker.rc1_path=flux modprobe load content", "-Sbroker.rc3_path=flux modprobe remove all"];
    const fixed = await box.flux(...start(...RC, `-Sstatedir=${state}`, "flux fsck --repair"));
    expect(fixed.stderr).toContain("flux-fsck: Total repairs: 1\nflux-fsck: Total unlinked directories: 1\n");
    const after = await box.flux(...start(`-Sstatedir=${state}`, "flux fsck && flux kvs get keep.a | cut -c1-3; flux kvs get lost+found.hurt.value | cut -c1-3; flux kvs ls hurt"));
    expect(after.stdout.split("\n").slice(1)).toEqual(["a1,", "v1,", ""]);
  });
});

test("flux gc deletes what nothing refers to, and only that", async () => {
  await using box = sandbox();
  const script = `for i in $(seq 1 30); do flux kvs put key="$i$(seq -s, 1 100)"; done; flux kvs namespace create ns; flux kvs put -N ns own="$(seq -s, 1 99)"
    flux kvs sync; flux kvs sync; for i in 1 2 3 4 5 6; do flux kvs put n=$i; flux kvs sync; done
    count() { flux module stats -p object_count content-sqlite; }; before=$(count); flux gc -v; after=$(count); test $after -lt $before && echo less
    flux content dropcache; flux kvs get key | cut -c1-4; flux kvs get -N ns own | cut -c1-4; flux fsck && flux run echo job`;
  const { code, stdout, stderr } = await box.flux(...start(script));
  expect(code).toBe(0);
  expect(stdout.split("\n").filter((line) => !line.startsWith("Checking"))).toEqual(["less", "301,", "1,2,", "job", ""]);
  expect(stderr).toMatch(/flux-gc: gc complete: marked \d+, reclaimed [1-9]\d* blobs \(horizon epoch \d+\)\n/);
});

test("flux cron runs what it is told", async () => {
  await using box = sandbox();
  const script = `flux cron sync --disable; flux cron interval -c 1 0.01 "echo here >${box.dir}/out"; until [ -s ${box.dir}/out ]; do sleep 0.01; done; cat ${box.dir}/out
    echo '30 4 * * sun echo weekly' | flux cron tab; flux cron dump -k typedata.minute 2; flux cron list | tail -1; flux cron delete 2; flux cron delete 2`;
  const { stdout, stderr } = await box.flux(...start("-s1", script));
  const [here, minute, row = "", removed] = stdout.split("\n");
  expect([here, minute, removed]).toEqual(["here", "30", "Removed cron-2: echo"]);
  expect(row).toMatch(/^ {5}2 echo {12}Active {11}0 {15}None {2}None/);
  expect(stderr).toContain("interval: cron-1 created\n");
  expect(stderr).toMatch(/tab: cron-2 created: scheduled in [\d.]+s at Sun \w+ +\d+ 04:30:00 \d{4}\n/);
  expect(stderr).toContain("flux-cron: cron.delete: there is no cron entry 2\n");
});
