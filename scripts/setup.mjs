#!/usr/bin/env node
// What the npm scripts call: everything from a fresh checkout to a built, demonstrated or tested `flux`, with nothing
// but Node and npm there to begin with.
//
//   node scripts/setup.mjs build    install the pinned packages if needed, build dist/flux if its sources are newer; with a C
//                                   compiler also dist/lib: what MPI libraries and debuggers load
//   node scripts/setup.mjs demo     build, then walk through a 4-broker instance
//   node scripts/setup.mjs test     build, then type check, lint and all tests; ends with "N passed, N failed"
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
process.chdir(root);

const bun = join(root, "node_modules", ".bin", "bun");
const executable = join(root, "dist", "flux");

/** Runs a program; ends this one with its exit code when it fails. */
function run(command, args, env = {}) {
  const result = spawnSync(command, args, { stdio: "inherit", env: { ...process.env, ...env } });
  if (result.error) fail(`cannot run ${command}: ${result.error.message}`);
  if (result.status !== 0) process.exit(result.status ?? 1);
}

/** The same for a program whose output matters only when it fails. */
function runQuietly(command, args) {
  const result = spawnSync(command, args, { encoding: "utf8" });
  if (result.error) fail(`cannot run ${command}: ${result.error.message}`);
  if (result.status === 0) return;
  process.stderr.write(result.stdout + result.stderr);
  process.exit(result.status ?? 1);
}

function fail(message) {
  console.error(`setup: ${message}`);
  process.exit(1);
}

/** Installs what package-lock.json pins, unless that was done since it last changed. */
function install() {
  const stamp = join("node_modules", ".flux-installed");
  const lock = readFileSync("package-lock.json", "utf8");
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === lock && bunWorks()) return;
  console.error("setup: installing the pinned packages");
  // Not `npm ci`: it insists on packages for other platforms, which a mirror need not have.
  run("npm", ["install", "--no-audit", "--no-fund", "--loglevel=error"]);
  if (!bunWorks()) run(process.execPath, [join("node_modules", "bun", "install.js")]);
  if (!bunWorks()) fail("the bun package was installed but does not run: it needs Linux on x64 or arm64");
  writeFileSync(stamp, lock);
}

function bunWorks() {
  return existsSync(bun) && spawnSync(bun, ["--version"], { stdio: "ignore" }).status === 0;
}

/** Newest change below a folder, in milliseconds; the folders count, too, because a file may have been removed. */
function newest_ms(folder) {
  let latest = statSync(folder).mtimeMs;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    const changed_ms = entry.isDirectory() ? newest_ms(path) : statSync(path).mtimeMs;
    latest = Math.max(latest, changed_ms);
  }
  return latest;
}

function build() {
  install();
  buildExecutable();
  buildLibraries();
}

/** dist/lib/NAME → sources in native/. */
const libraries = {
  "libpmi.so.0": ["libpmi.c", "pmi-wire.c"],
  "libpmi2.so.0": ["libpmi2.c", "pmi-wire.c"],
  "libfluxmpir.so.0": ["libmpir.c"],
};

function buildLibraries() {
  const folder = join("dist", "lib");
  const stale = Object.keys(libraries).filter((name) => {
    const made = join(folder, name);
    return !existsSync(made) || statSync(made).mtimeMs < newest_ms("native");
  });
  if (stale.length === 0) return;
  if (spawnSync("cc", ["--version"], { stdio: "ignore" }).status !== 0) {
    console.error("setup: no C compiler (cc): dist/lib is not built, MPI programs that need a libpmi.so won't find one");
    return;
  }
  console.error("setup: building dist/lib");
  mkdirSync(folder, { recursive: true });
  for (const name of stale) {
    const sources = libraries[name].map((source) => join("native", source));
    const made = join(folder, `${name}.${process.pid}.new`);
    // Debuggers take the types of what they look for from the debug information.
    runQuietly("cc", ["-O2", "-g", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", `-Wl,-soname,${name}`, "-o", made, ...sources]);
    renameSync(made, join(folder, name));
    // Who links to a library looks for the name without a version.
    const plain = join(folder, name.replace(/\.0$/, ""));
    rmSync(plain, { force: true });
    symlinkSync(name, plain);
  }
}

function buildExecutable() {
  const sources_ms = Math.max(newest_ms("src"), newest_ms(join("docs", "man")), statSync("package-lock.json").mtimeMs, statSync("package.json").mtimeMs);
  if (existsSync(executable) && statSync(executable).mtimeMs >= sources_ms) return console.error("setup: dist/flux is up to date");
  console.error("setup: building dist/flux");
  mkdirSync("dist", { recursive: true });
  // Without --splitting each command would pay at its start for what all the others import from the runtime: 7 ms.
  const flags = ["--compile", "--minify", "--bytecode", "--splitting", "--format=esm", "--target=bun"];
  const isolation = ["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig", "--compile-autoload-package-json"];
  // Built beside its place and renamed: a running broker keeps its file, and nobody starts half an executable.
  const made = `${executable}.${process.pid}.new`;
  runQuietly(bun, ["build", ...flags, ...isolation, "src/main.ts", "--outfile", made]);
  renameSync(made, executable);
}

async function test() {
  build();
  run("npm", ["run", "--silent", "check"]);
  run("npm", ["run", "--silent", "lint"]);
  const only = process.argv.slice(3);
  const child = spawn(bun, ["test", "--timeout", "60000", ...(only.length > 0 ? only : ["test"])], {
    env: { ...process.env, FLUX_FREEZE_PAYLOADS: "1" },
    stdio: ["inherit", "inherit", "pipe"],
  });
  // The runner counts at the end of its stderr: shown as it comes, kept for the last line.
  let tail = "";
  child.stderr.on("data", (chunk) => {
    process.stderr.write(chunk);
    tail = (tail + chunk).slice(-100_000);
  });
  const [status] = await once(child, "close");
  const count = (word) => new RegExp(`^\\s*(\\d+) ${word}$`, "m").exec(tail)?.[1];
  if (count("skip") !== undefined) console.log(`${count("skip")} skipped: each says above what it needs`);
  console.log(`${count("pass") ?? 0} passed, ${count("fail") ?? 0} failed`);
  process.exitCode = status === 0 && Number(count("pass")) > 0 ? 0 : status || 1;
}

function demo() {
  build();
  run("bash", [join("scripts", "demo.sh")]);
}

const tasks = { build, demo, test };
const task = tasks[process.argv[2]];
if (task === undefined) fail(`usage: setup.mjs ${Object.keys(tasks).join("|")}`);
await task();
