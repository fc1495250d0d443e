// flux modprobe and rc files with the real executable; commands of others; flux python.
import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { sandbox, type Sandbox } from "./sandbox.ts";

const hasPython = spawnSync("python3", ["-c", ""]).status === 0;

function file(box: Sandbox, name: string, content: string, mode = 0o644): string {
  const path = join(box.dir, name);
  mkdirSync(join(path, ".."), { recursive: true });
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

describe("an rc file in place of rc1", () => {
  const RC = `
    export function setup(context) {
      context.loadModules(["kvs"]);
      context.setOption("heartbeat", "period=1h");
    }
    export const motd = { name: "motd", ranks: "0", after: ["kvs"], needs: ["kvs"], run: (context) => context.shell("flux kvs put motd=hello") };
    export const variable = { name: "variable", run: (context) => context.setenv({ FROM_RC1: "yes" }) };
  `;

  test("loads what it says, and nothing else", async () => {
    await using box = sandbox();
    const rc = file(box, "rc1.ts", RC);
    const { code, stdout, stderr } = await box.flux("start", "-s2", `-Sbroker.rc1_path=flux modprobe run ${rc}`, "flux kvs get motd; echo $FROM_RC1; flux module stats -p period heartbeat; flux module list | awk '{print $1}' | sort | tr '\\n' ' '");
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toBe("hello\nyes\n3600.000000\nModule barrier content content-sqlite groups heartbeat kvs rexec ");
  });

  test("that fails ends the instance, and the log says why", async () => {
    await using box = sandbox();
    const rc = file(box, "rc1.js", 'export const bad = { name: "bad", run() { throw new Error("no luck"); } };');
    const { code, stderr } = await box.flux("start", `-Sbroker.rc1_path=flux modprobe run ${rc}`, "true");
    expect(code).toBe(1);
    expect(stderr).toContain("rc1.0: bad: no luck");
  });
});

describe("what a site adds", () => {
  test("tables, tasks and programs are part of rc1 and rc3", async () => {
    await using box = sandbox();
    file(box, "site/modprobe.d/a.toml", '[heartbeat]\nargs = ["period=1h"]\n');
    file(box, "site/rc1.d/hello.js", 'export const hello = { name: "hello", after: ["kvs"], needs: ["kvs"], ranks: "0", run: (c) => c.shell("flux kvs put hello=1") };');
    file(box, "site/rc3.d/bye.js", `export const bye = { name: "bye", before: ["kvs"], ranks: "0", run: (c) => c.shell("flux kvs get hello >${box.dir}/bye") };`);
    file(box, "extra/rc1.d/program", `#!/bin/sh\nflux kvs put program=2\n`, 0o755);
    const { code, stdout, stderr } = await box.sh(
      `FLUX_MODPROBE_PATH=${box.dir}/site FLUX_RC_EXTRA=${box.dir}/extra flux start 'flux kvs get hello; flux kvs get program; flux module stats -p period heartbeat; flux startlog | wc -l; flux run echo job'; cat ${box.dir}/bye`,
    );
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toBe("1\n2\n3600.000000\n1\njob\n1\n");
  });

  test("the table [modules] of the configuration", async () => {
    await using box = sandbox();
    const { stdout, stderr } = await box.flux("start", '--conf={"modules":{"heartbeat":{"args":["period=1h"]},"sched-simple":{"disabled":true}}}', "flux module stats -p period heartbeat; flux module list | grep -c sched-simple");
    expect([stdout, stderr.replace(/^.*rc2.*\n/, "")]).toEqual(["3600.000000\n0\n", ""]);
  });
});

test("load and remove go by what modules require", async () => {
  await using box = sandbox();
  const script = "flux modprobe load resource && flux modprobe remove --dry-run resource; flux modprobe remove kvs; flux modprobe load kvs; flux modprobe remove all; flux module list | grep -c kvs";
  const { stdout, stderr } = await box.flux("start", "-Sbroker.rc1_path=", "-Sbroker.rc3_path=", script);
  expect(stdout.split("\n").filter((line) => !/heartbeat|resource/.test(line))).toEqual(["remove kvs-watch", "remove kvs", "remove content-sqlite", "remove content", "0", ""]);
  expect(stderr).toContain("flux-modprobe: ERROR: kvs still in use by kvs-watch\n");
  expect(stderr).toContain("flux-modprobe: INFO: All modules and dependencies are already loaded\n");
});

test("list-dependencies and show", async () => {
  await using box = sandbox();
  const { stdout } = await box.flux("start", "-Sbroker.rc1_path=", "-Sbroker.rc3_path=", "flux modprobe list-dependencies -f kvs; flux modprobe show sched");
  const [tree, json = ""] = stdout.split(/\n(?=\{)/);
  expect(tree).toBe("kvs\n├── content\n│   ├── heartbeat\n│   └── content-backing (content-sqlite)\n└── heartbeat");
  expect(JSON.parse(json)).toMatchObject({ name: "sched-simple", provides: ["sched", "feasibility"], ranks: "0" });
});

describe.skipIf(!hasPython)("Python", () => {
  /** Stands in for flux-core's bindings, of which an rc file needs only this. */
  function bindings(box: Sandbox): string {
    file(box, "py/flux/__init__.py", "class Flux:\n  def get_rank(self):\n    return 0\n");
    file(
      box,
      "py/flux/modprobe.py",
      `class CodeTask:
  def __init__(self, name, func, **kwargs):
    self.name, self.func, self.ranks, self.priority, self.disabled = name, func, kwargs.get("ranks", "all"), 100, False
    for key in ("provides", "requires", "needs", "before", "after", "needs_attrs", "needs_config", "needs_env"):
      setattr(self, key, kwargs.get(key, []))
def task(name, **kwargs):
  return lambda func: CodeTask(name, func, **kwargs)
`,
    );
    return join(box.dir, "py");
  }

  test("an rc file in Python sets options and loads modules", async () => {
    await using box = sandbox();
    const python = bindings(box);
    const rc = file(
      box,
      "rc1.py",
      `from flux.modprobe import task
def setup(context):
    context.setopt("heartbeat", "period=1h")
    context.load_modules(["heartbeat"])
@task("late", ranks="0", after=["heartbeat"])
def late(context):
    context.setenv("LATE", "later")
    context.bash("true")
    print("printed", context.getopts("heartbeat"))
`,
    );
    const script = `FLUX_PYTHONPATH_PREPEND=${python} flux start -Slog-stderr-level=6 -Sbroker.rc1_path="flux modprobe run ${rc}" 'flux module stats -p period heartbeat; echo $LATE'`;
    const { stdout, stderr } = await box.sh(script);
    expect(stdout).toBe("3600.000000\nlater\n");
    expect(stderr).toContain("rc1.0: printed ['period=1h']");
  });

  test("what a task raises, and bindings that are missing, are said", async () => {
    await using box = sandbox();
    const rc = file(box, "bad.py", "from flux.modprobe import task\n@task('bad')\ndef bad(context):\n    context.load_modules(['nosuch'])\n");
    const run = `flux modprobe run ${rc}`;
    const { stderr } = await box.sh(`export PYTHONPATH=; flux start -Sbroker.rc1_path= -Sbroker.rc3_path= 'FLUX_PYTHONPATH_PREPEND=${bindings(box)} ${run}; FLUX_PYTHON=/nosuch ${run}; FLUX_PYTHONPATH_PREPEND= ${run}'`);
    expect(stderr).toContain("bad: no such task or module nosuch\n");
    expect(stderr).toContain("rc files in Python need an interpreter");
    if (!stderr.includes("import flux")) expect(stderr).toContain("Rc files in Python need Flux's bindings");
  });

  test("flux python finds what FLUX_PYTHONPATH_PREPEND names", async () => {
    await using box = sandbox();
    const { code, stdout } = await box.sh(`FLUX_PYTHONPATH_PREPEND=${bindings(box)} flux python -c 'import flux, sys; print(flux.Flux().get_rank()); sys.exit(3)'`);
    expect([code, stdout]).toEqual([3, "0\n"]);
  });
});

test("commands of others are found and get their words", async () => {
  await using box = sandbox();
  file(box, "cmd/flux-hello", '#!/bin/sh\necho "hello $*"; exit 7\n', 0o755);
  file(box, "cmd/flux-snake.py", "import sys; print('snake', sys.argv[1:])\n");
  file(box, "first/flux-hello", "#!/bin/sh\necho first\n", 0o755);
  const hello = await box.sh(`FLUX_EXEC_PATH=${box.dir}/cmd flux hello --x y`);
  expect([hello.code, hello.stdout]).toEqual([7, "hello --x y\n"]);
  expect((await box.sh(`FLUX_EXEC_PATH_PREPEND=${box.dir}/first FLUX_EXEC_PATH=${box.dir}/cmd flux hello`)).stdout).toBe("first\n");
  expect((await box.sh(`flux ${box.dir}/cmd/flux-hello z`)).stdout).toBe("hello z\n");
  if (hasPython) expect((await box.sh(`FLUX_EXEC_PATH=${box.dir}/cmd flux snake --help`)).stdout).toBe("snake ['--help']\n");
});

describe("[fake-resources]", () => {
  test("jobs are simulated on nodes that don't exist", async () => {
    await using box = sandbox();
    const script = "flux resource list -no '{nnodes} {ncores} {nodelist}' -s free; flux submit --quiet --wait -N100 --setattr=system.exec.test.run_duration=10ms true && flux jobs -ano '{nodelist} {status}'";
    const { code, stdout, stderr } = await box.flux("start", "--conf=fake-resources.nnodes=100", "--conf=fake-resources.cores-per-node=2", script);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toBe("100 200 fake[0-99]\nfake[0-99] COMPLETED\n");
  });

  test("with a mistake the instance doesn't start", async () => {
    await using box = sandbox();
    const { code, stderr } = await box.flux("start", "--conf=fake-resources.cores-per-node=2", "true");
    expect(code).not.toBe(0);
    expect(stderr).toContain("fake-resources: [fake-resources] needs the key nnodes, the number of nodes\n");
  });

  test.if(hasPython)("R is changed by a function in Python", async () => {
    await using box = sandbox();
    const path = file(box, "amender.py", "def amend(R, hwloc_xml=None):\n    print('amending')\n    R['execution']['properties'] = {'fast': '1'}\n    return R\n");
    const by = async (name: string) => (await box.sh(`PYTHONPATH=${box.dir} flux start --conf=fake-resources.nnodes=2 --conf=fake-resources.amend-r=${name} flux resource list -s free -no {nodelist}:{properties}`)).stdout;
    expect(await by(path)).toBe("fake0:\nfake1:fast\n");
    expect(await by("amender:amend")).toBe("fake0:\nfake1:fast\n");
  });
});
