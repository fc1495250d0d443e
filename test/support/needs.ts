// What some tests need from the machine. Without it they are skipped, and this says why; .ci/run installs all of it.
import { dlopen } from "bun:ffi";
import { hasLibsodium } from "../../src/transport/zmtp/box-ffi.ts";

export const PYTHON = process.env["PYTHON"] ?? "/usr/bin/python3";

const NEEDS = {
  "python3-zmq": () => succeeds(PYTHON, "-c", "import zmq; assert zmq.has('curve')"),
  "libmpich-dev": () => Bun.which("mpicc.mpich") !== null,
  "libopenmpi-dev": () => Bun.which("mpicc.openmpi") !== null,
  mpich: () => Bun.which("mpiexec.hydra") !== null,
  slurmctld: () => found("slurmctld"),
  slurmd: () => found("slurmd"),
  "slurm-client": () => found("srun"),
  libpmi0: () => opens("libpmi.so.0", "PMI_Init"),
  "libpmi2-0": () => opens("libpmi2.so.0", "PMI2_Init"),
  libsodium23: hasLibsodium,
  gdb: () => Bun.which("gdb") !== null,
} as const;

const answers = new Map<string, boolean>();

/** True when the Debian package isn't there; for describe.skipIf() and test.skipIf(). */
export function lacks(name: keyof typeof NEEDS): boolean {
  const known = answers.get(name);
  if (known !== undefined) return !known;
  const isThere = NEEDS[name]();
  answers.set(name, isThere);
  if (!isThere) console.error(`tests are skipped for want of the Debian package ${name}`);
  return !isThere;
}

/** Daemons are where a user's PATH need not look. */
function found(program: string): boolean {
  return Bun.which(program, { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` }) !== null;
}

function opens(library: string, symbol: string): boolean {
  try {
    dlopen(library, { [symbol]: { args: [], returns: "i32" } }).close();
    return true;
  } catch {
    return false; // it is not installed
  }
}

function succeeds(...argv: string[]): boolean {
  try {
    return Bun.spawnSync(argv, { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
  } catch {
    return false; // there is no such program
  }
}
