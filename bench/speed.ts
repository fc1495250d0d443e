// The speed of `flux` as its users see it: whole commands, timed from outside.
//
//   bun bench/speed.ts [--flux PATH] [--peer PATH] [--runs N] [--only WORD] [--long]
//
// Each line runs on --flux (default dist/flux) and, with --peer, on that executable in turn, run by run, so that both
// see the same machine. Prints a Markdown table of medians and ratios; what could not be measured says why.
import { cpus, totalmem } from "node:os";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Instance, startInstance } from "./instance.ts";
import { command, type Line, SIMULATED, start } from "./line.ts";
import { SUBMISSION_LINES } from "./submission.ts";

const TEXT_50MB = "/tmp/flux-bench-50mb.txt";

function throughput(name: string, jobs: number, args: readonly string[], extra: Partial<Line> = {}): Line {
  return {
    name,
    size: 1,
    unit: "jobs/s",
    runs: 3,
    ...extra,
    measure: async (_flux, instance) => jobs / (await (instance as Instance).run(["submit", `--cc=1-${jobs}`, "--wait", "--quiet", ...args, "true"])),
  };
}

function residentMegabytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;
}

/** 64 000 simulated jobs in one instance: the last thousand's rate, relative to the first thousand's. */
async function flatness(instance: Instance): Promise<number> {
  const thousand = async (): Promise<number> => instance.run(["submit", "--cc=1-1000", "--wait", "--quiet", SIMULATED, "true"]);
  const first_s = await thousand();
  await instance.run(["submit", "--cc=1-62000", "--wait", "--quiet", SIMULATED, "true"], { timeout_s: 1800 });
  return (1000 / (await thousand())) / (1000 / first_s);
}

async function cancelPending(instance: Instance): Promise<number> {
  await instance.run(["queue", "stop", "--quiet"]);
  await instance.run(["submit", "--cc=1-10000", "--quiet", SIMULATED, "true"]);
  const seconds = await instance.run(["cancel", "--all", "--quiet"]);
  await instance.run(["queue", "start", "--quiet"]);
  return seconds;
}

async function catText(instance: Instance): Promise<number> {
  let got = 0;
  const seconds = await instance.run(["run", "cat", TEXT_50MB], { stdoutTo: (chunk) => (got += chunk.length) });
  if (got < 50_000_000) throw new Error(`only ${got} bytes of the text came back`);
  return seconds;
}

const LINES: readonly Line[] = [
  start("flux start true, 1 broker", ["true"]),
  start("flux start --test-size=16 true", ["--test-size=16", "true"], { runs: 3 }),
  start("flux start --test-size=64 true", ["--test-size=64", "true"], { runs: 1 }),
  command("flux run true", ["run", "true"]),
  command("flux submit true", ["submit", "true"]),
  command("flux jobs -a", ["jobs", "-a"]),
  command("flux resource list", ["resource", "list"]),
  command("flux kvs get", ["kvs", "get", "resource.R"]),
  command("flux getattr rank", ["getattr", "rank"]),
  command("flux ping -c1 0", ["ping", "-c1", "0"]),
  command("flux run -n8 true, 4 brokers", ["run", "-n8", "true"], { size: 4 }),
  command("flux run -N4 true, 4 brokers", ["run", "-N4", "true"], { size: 4 }),
  command("flux run flux start true (nested)", ["run", "flux", "start", "true"], { runs: 3 }),
  throughput("real jobs: submit --cc=1-500 --wait true", 500, []),
  throughput("simulated jobs, 1 000", 1000, [SIMULATED]),
  command("flux jobs -a -c0 after some 2 000 jobs", ["jobs", "-a", "-c0"], { runs: 3 }),
  { name: "flux run cat, 50 MB of text", size: 1, unit: "s", runs: 1, measure: (_f, i) => catText(i as Instance) },
  { name: "resident memory of an idle leaf broker", size: 4, unit: "MB", runs: 1, measure: async (_f, i) => residentMegabytes((i as Instance).brokerPids[3] ?? 0) },
  { name: "64 000 simulated jobs: last thousand's rate / first's", size: 1, unit: "jobs/s", runs: 1, long: true, measure: (_f, i) => flatness(i as Instance) },
  command("flux jobs -a -c0 after those", ["jobs", "-a", "-c0"], { runs: 1, long: true }),
  { name: "resident memory of rank 0 after those", size: 1, unit: "MB", runs: 1, long: true, measure: async (_f, i) => residentMegabytes((i as Instance).brokerPids[0] ?? 0) },
  { name: "cancel of 10 000 pending jobs", size: 1, unit: "s", runs: 1, long: true, measure: (_f, i) => cancelPending(i as Instance) },
  ...SUBMISSION_LINES,
];

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

function show(value: number | string, unit: Line["unit"]): string {
  if (typeof value === "string") return value;
  return unit === "s" ? `${value.toFixed(3)} s` : `${value.toPrecision(3)} ${unit}`;
}

async function measureLine(line: Line, fluxes: readonly string[], instances: ReadonlyMap<string, Instance>, runs: number): Promise<(number | string)[]> {
  const samples = fluxes.map((): number[] => []);
  const failures: (string | undefined)[] = fluxes.map(() => undefined);
  for (let run = 0; run < Math.min(runs, line.runs ?? runs); run++) {
    for (const [i, flux] of fluxes.entries()) {
      if (failures[i] !== undefined) continue;
      try {
        samples[i]?.push(await line.measure(flux, line.size === undefined ? undefined : instances.get(`${flux}/${line.size}`)));
      } catch (err) {
        failures[i] = `failed: ${(err instanceof Error ? err.message : String(err)).slice(0, 120)}`;
      }
    }
  }
  return fluxes.map((_, i) => failures[i] ?? median(samples[i] ?? []));
}

function ratio(line: Line, ours: number | string | undefined, peer: number | string | undefined): string {
  if (typeof ours !== "number" || typeof peer !== "number") return "";
  const better = line.unit === "jobs/s" ? ours / peer : peer / ours;
  return `${better.toPrecision(3)} ×`;
}

const { values: options } = parseArgs({
  options: { flux: { type: "string", default: "dist/flux" }, peer: { type: "string" }, runs: { type: "string", default: "5" }, only: { type: "string" }, long: { type: "boolean", default: false } },
});
const fluxes = [options.flux, ...(options.peer === undefined ? [] : [options.peer])].map((path) => (path.includes("/") ? Bun.pathToFileURL(path).pathname : path));
const lines = LINES.filter((line) => (options.long || line.long !== true) && (options.only === undefined || line.name.includes(options.only)));

writeFileSync(TEXT_50MB, "the quick brown fox jumps over the lazy dog 0123456789\n".repeat(Math.ceil(50e6 / 55)));
console.log(`Machine: ${cpus().length} × ${cpus()[0]?.model.trim()}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB. Medians of ${options.runs} runs or fewer, in turn.\n`);
console.log(fluxes.length > 1 ? "| work | ours | peer | faster |\n| --- | --- | --- | --- |" : "| work | ours |\n| --- | --- |");
for (const size of [undefined, ...new Set(lines.flatMap((line) => line.size ?? []))]) {
  const instances = new Map<string, Instance>();
  if (size !== undefined) for (const flux of fluxes) instances.set(`${flux}/${size}`, await startInstance(flux, size));
  for (const line of lines.filter((l) => l.size === size)) {
    const [ours, peer] = await measureLine(line, fluxes, instances, Number(options.runs));
    const cells = [line.name, show(ours ?? "", line.unit), ...(fluxes.length > 1 ? [show(peer ?? "", line.unit), ratio(line, ours, peer)] : [])];
    console.log(`| ${cells.join(" | ")} |`);
  }
  for (const instance of instances.values()) await instance.stop();
}
rmSync(TEXT_50MB, { force: true });
