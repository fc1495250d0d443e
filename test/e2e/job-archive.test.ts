// The job archive of a real instance: what is purged stays in it, also across crashes, and while others write to the file.
import { describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Finished, type Sandbox, sandbox } from "./sandbox.ts";

interface Row {
  readonly id: string;
  readonly userid: number;
  readonly ranks: string | null;
  readonly t_submit: number;
  readonly t_run: number;
  readonly t_inactive: number;
  readonly eventlog: string;
  readonly jobspec: string;
  readonly R: string | null;
}

interface Site {
  readonly state: string;
  readonly file: string;
  readonly run: (script: string, ...args: string[]) => Promise<Finished>;
  readonly rows: () => Row[];
}

function site(box: Sandbox): Site {
  const state = join(box.dir, "state");
  mkdirSync(state);
  const file = join(state, "job-archive.sqlite");
  return {
    state,
    file,
    run: (script, ...args) => box.flux("start", `-Sstatedir=${state}`, "--conf=archive.period=\"1h\"", "--conf=ingest.fluid-start=536883257", ...args, "sh", "-c", script),
    rows() {
      const db = new Database(file, { readonly: true });
      try {
        return db.query<Row, []>("SELECT * FROM jobs ORDER BY t_inactive, id").all();
      } finally {
        db.close();
      }
    },
  };
}

test("jobs that are purged, and jobs that ended, are in the archive", async () => {
  await using box = sandbox();
  const { run, rows } = site(box);
  const { stdout, stderr } = await run("flux run echo hello; id=$(flux submit --urgency=hold true); echo $id; flux cancel $id; flux job wait-event -q $id clean; flux jobs -a -no '{id.dec}'; flux job purge -f --num-limit=1; flux jobs -a -no '{id.dec}'; flux module stats --parse stored job-archive; flux run true");
  expect(stderr).toBe("");
  const [, , second = "", first = "", purged, left, stored] = stdout.split("\n");
  expect([purged, left, stored]).toEqual(["purged 1 inactive jobs, 1 remaining", second, "1"]);
  const found = rows();
  expect(found.map(({ id }) => id).slice(0, 2)).toEqual([first, second]);
  expect(found).toHaveLength(3);
  expect(BigInt(first) > 2n ** 53n).toBe(true);
  expect(found[0]).toMatchObject({ userid: process.getuid?.() ?? 0, ranks: "0" });
  expect(found[0]?.t_run).toBeGreaterThan(found[0]?.t_submit ?? Infinity);
  expect(JSON.parse(found[0]?.jobspec ?? "").tasks[0].command).toEqual(["echo", "hello"]);
  expect(JSON.parse(found[0]?.R ?? "").version).toBe(1);
  expect(found[0]?.eventlog.trimEnd().split("\n").at(-1)).toContain('"clean"');
  expect(found[1]).toMatchObject({ ranks: null, R: null, t_run: 0 });
});

test("limits purge only what is archived; a crash loses nothing", async () => {
  await using box = sandbox();
  const { run, rows } = site(box);
  const limited = "--conf=job-manager.inactive-num-limit=2";
  const script = "flux submit --quiet --wait --cc=1-250 true; until test $(flux jobs -a -c0 -no '{id}' | wc -l) = 2; do flux event sub -c1 heartbeat.pulse >/dev/null; done";
  const { code } = await run(`${script}; flux kvs put --sync a=1; kill -9 $(flux getattr broker.pid)`, limited, "--conf=heartbeat.period=\"100ms\"");
  expect(code).toBe(137);
  expect(rows().length).toBeGreaterThanOrEqual(248);
  await run("true", limited);
  expect(new Set(rows().map(({ id }) => id)).size).toBe(250);
});

describe("when the file can't be written", () => {
  test("another program that writes holds up neither jobs nor the broker; purging waits", async () => {
    await using box = sandbox();
    const { run, rows, file } = site(box);
    const script = `flux run true
      flux run true; flux job purge -f --num-limit=0; echo code=$?; flux jobs -a -no '{id}' | wc -l; flux ping -c1 broker >/dev/null && echo alive`;
    await run("true");
    const db = new Database(file);
    db.run("BEGIN IMMEDIATE");
    try {
      const { stdout, stderr } = await run(script);
      expect(stdout).toBe("code=1\n2\nalive\n");
      expect(stderr).toContain("purge: not archived: ");
      expect(stderr).toContain("database is locked");
    } finally {
      db.close();
    }
    await run("flux job purge -f --num-limit=0");
    expect(rows()).toHaveLength(2);
  });

  test("without the module, nothing is purged, and what to do is said", async () => {
    await using box = sandbox();
    const { run, rows } = site(box);
    const { stdout, stderr } = await run("flux run true; flux module remove job-archive; flux job purge -f --num-limit=0; flux module load job-archive; flux job purge -f --num-limit=0");
    expect(stderr).toContain("purge: not archived: [archive] is configured: flux module load job-archive");
    expect(stdout).toBe("purged 1 inactive jobs, 0 remaining\n");
    expect(rows()).toHaveLength(1);
  });
});

test("a configuration that makes no sense keeps the instance from starting, or is refused", async () => {
  await using box = sandbox();
  const { run } = site(box);
  const wrong = await run("true", "--conf=archive.period=60");
  expect(wrong.code).not.toBe(0);
  expect(wrong.stderr).toContain('archive.period: must be a duration such as "60s"');
  const { stderr } = await run("echo '[archive]\nperiod = \"soon\"' >$TMPDIR/x.toml; flux config load $TMPDIR/x.toml; rm $TMPDIR/x.toml");
  expect(stderr).toContain("archive.period");
  const nowhere = await box.flux("start", "--conf=archive.period=\"60s\"", "true");
  expect(nowhere.stderr).toContain("archive.dbpath: must be set");
});
