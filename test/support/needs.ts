// What some tests need from the machine. Without it they are skipped, and this says why; .ci/run installs all of it.
import { hasLibsodium } from "../../src/transport/zmtp/box-ffi.ts";

export const PYTHON = process.env["PYTHON"] ?? "/usr/bin/python3";

const NEEDS = {
  "python3-zmq": () => succeeds(PYTHON, "-c", "import zmq; assert zmq.has('curve')"),
  "libmpich-dev": () => Bun.which("mpicc.mpich") !== null,
  mpich: () => Bun.which("mpiexec.hydra") !== null,
  libsodium23: hasLibsodium,
} as const;

const answers = new Map<string, boolean>();

/** True when the Debian package isn't there; for describe.skipIf() and test.skipIf(). */
export function lacks(name: keyof typeof NEEDS): boolean {
  const known = answers.get(name);
  if (known !== undefined) return !known;
  const found = NEEDS[name]();
  answers.set(name, found);
  if (!found) console.error(`tests are skipped for want of the Debian package ${name}`);
  return !found;
}

function succeeds(...argv: string[]): boolean {
  try {
    return Bun.spawnSync(argv, { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
  } catch {
    return false; // there is no such program
  }
}
