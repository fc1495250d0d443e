// The programs that sites have in rc1.d and rc3.d: run one after another, whatever becomes of those before.
import { toFluxError } from "../../message/errno.ts";
import { writeStderr } from "../../os/stderr.ts";
import { shellExitCode } from "../../formats/waitstatus.ts";
import { spawnProcess } from "../../os/spawn.ts";
import { rcPrograms, type RunLevel } from "./search-path.ts";

/** Throws Error when one of them failed. */
export async function runPrograms(level: RunLevel): Promise<void> {
  let failed = false;
  for (const path of rcPrograms(level, process.env)) {
    process.stdout.write(`running ${path}\n`);
    const problem = await run(path);
    if (problem === undefined) continue;
    failed = true;
    writeStderr(`${problem}\n`);
  }
  if (failed) throw new Error(`one or more ${level}.d scripts failed`);
}

async function run(path: string): Promise<string | undefined> {
  try {
    const { status } = await spawnProcess({ argv: [path] }).exited;
    return status === 0 ? undefined : `${path} failed with exit code ${shellExitCode(status)}`;
  } catch (err) {
    return `cannot execute ${path}: ${toFluxError(err).message}`;
  }
}
