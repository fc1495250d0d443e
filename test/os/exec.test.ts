// Becoming another program, seen from its parent.
import { expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const SOURCE = join(import.meta.dir, "../../src/os/exec.ts");

/** What a process prints that becomes `argv`, and its own id. */
async function become(argv: readonly string[], env: object = { PATH: "/usr/bin:/bin" }): Promise<{ out: string; pid: number; code: number | null; signal: NodeJS.Signals | number | null }> {
  const script = `import { becomeProgram } from ${JSON.stringify(SOURCE)};
    try { becomeProgram(${JSON.stringify(argv)}, ${JSON.stringify(env)}); } catch (err) { console.log(err.message); process.exitCode = 9; }`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdin: "ignore", stdout: "pipe" });
  const out = await new Response(child.stdout).text();
  await child.exited;
  return { out, pid: child.pid, code: child.exitCode, signal: child.signalCode };
}

test("the process id stays, the environment is what is given, and nothing of the runtime is left", async () => {
  const { out, pid, code } = await become(["sh", "-c", 'echo $$ "$WORD" ${HOME-none}; grep SigIgn /proc/self/status; ls /proc/self/fd; exit 3'], {
    PATH: "/usr/bin:/bin",
    WORD: "ä 1",
  });
  expect(out).toBe(`${pid} ä 1 none\nSigIgn:\t0000000000000000\n0\n1\n2\n3\n`);
  expect(code).toBe(3);
});

test("a signal ends it as it ends any program", async () => {
  expect(await become(["sh", "-c", "kill -USR1 $$"])).toMatchObject({ code: null, signal: "SIGUSR1" });
});

test("what can't be run is told, and we go on", async () => {
  expect(await become(["nosuchprogram"])).toMatchObject({ out: "nosuchprogram: No such file or directory\n", code: 9 });
  expect(await become(["/etc/passwd"])).toMatchObject({ out: "/etc/passwd: Permission denied\n", code: 9 });
});

test("a script without #! runs under /bin/sh", async () => {
  const folder = mkdtempSync(join(tmpdir(), "flux-exec-"));
  const script = join(folder, "script");
  writeFileSync(script, 'echo "$0 $1"\n');
  chmodSync(script, 0o755);
  expect(await become([script, "word"])).toMatchObject({ out: `${script} word\n`, code: 0 });
  rmSync(folder, { recursive: true });
});
