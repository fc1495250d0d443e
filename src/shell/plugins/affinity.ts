// cpu-affinity: tasks run on the CPUs of the cores that R gives to this node.
// Option: on (default), off, per-task, map:SET;SET…; before it "verbose," (says what is done) and "dry-run," (and doesn't do it).
import { IdSet } from "../../formats/idset.ts";
import { getAffinity, withAffinity } from "../../os/affinity.ts";
import { parseCpuset } from "../../os/hwloc-xml.ts";
import { cpusOfCores } from "../../os/topology.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

export function affinityPlugin(): Plugin {
  let perTask: number[][] | undefined;
  let talks = false;
  let binds = true;
  return {
    name: "cpu-affinity",
    init(shell) {
      tellAdjusted(shell, "cores");
      tellAdjusted(shell, "gpus");
      const { mode, verbose, dryRun } = parse(shell);
      if (mode === "off") return shell.log(LOG.debug, "disabling affinity due to cpu-affinity=off", "cpu-affinity");
      const cores = shell.job.node.cores.toArray();
      const cpus = cpusOf(shell, cores);
      if (cpus === undefined) {
        shell.log(LOG.warning, `unable to get cpuset for cores ${shell.job.node.cores.toString()}. Disabling affinity`, "cpu-affinity");
        return;
      }
      talks = verbose || dryRun;
      binds = !dryRun;
      if (talks) shell.log(LOG.notice, `cpus: ${IdSet.from(cpus).toString()}`, "cpu-affinity");
      const ntasks = shell.taskmap.ntasksOf(shell.job.shellRank);
      if (mode === "per-task") perTask = spread(shell, cores, ntasks);
      else if (mode.startsWith("map:")) perTask = parseMap(mode.slice(4), ntasks, "cpu-affinity");
      else if (mode !== "on" && mode !== "") shell.log(LOG.warning, `invalid option: ${mode}`, "cpu-affinity");
      if (binds && !sameAsOurs(cpus)) shell.spawn.cpus = cpus;
    },
    taskInit(shell, task) {
      const cpus = perTask?.[task.localId];
      if (cpus === undefined) return;
      if (binds && !canBind(cpus)) {
        shell.log(LOG.warning, `task ${task.rank}: cpus ${IdSet.from(cpus).toString()}: there is none that it could run on. It is not bound to them`, "cpu-affinity");
        return;
      }
      if (binds) task.cpus = cpus;
      shell.log(talks ? LOG.notice : LOG.debug, `task ${task.rank}: cpus: ${IdSet.from(cpus).toString()}`, "cpu-affinity");
    },
  };
}

function tellAdjusted(shell: Shell, what: "cores" | "gpus"): void {
  const [before, now] = [shell.job.allocated[what].toString(), shell.job.node[what].toString()];
  if (before !== now) shell.log(LOG.warning, `${shell.host.hostname}: adjusted ${what} from ${before} to ${now}`);
}

function parse(shell: Shell): { mode: string; verbose: boolean; dryRun: boolean } {
  const option = shell.option("cpu-affinity");
  let mode = "on";
  if (typeof option === "string") mode = option;
  else if (option !== undefined) shell.log(LOG.warning, `invalid option: ${JSON.stringify(option)}`, "cpu-affinity");
  let verbose = false;
  let dryRun = false;
  for (;;) {
    const match = /^(dry-run|verbose),?/.exec(mode);
    if (match === null) return { mode, verbose, dryRun };
    if (match[1] === "verbose") verbose = true;
    else dryRun = true;
    mode = mode.slice(match[0].length);
  }
}

function cpusOf(shell: Shell, cores: readonly number[]): number[] | undefined {
  try {
    const cpus = cpusOfCores(shell.host.topology(), cores);
    return cpus.length === 0 ? undefined : cpus;
  } catch {
    return undefined; // more cores are configured than the host has
  }
}

function sameAsOurs(cpus: readonly number[]): boolean {
  const ours = getAffinity();
  return ours.length === cpus.length && ours.every((cpu, i) => cpu === cpus[i]);
}

/** Only the kernel knows which CPUs a process could be given. */
function canBind(cpus: readonly number[]): boolean {
  try {
    return withAffinity(cpus, () => true);
  } catch {
    return false; // EINVAL: it has none of them
  }
}

/** The cores in equal shares; with more tasks than cores, tasks share one. */
function spread(shell: Shell, cores: readonly number[], ntasks: number): number[][] {
  const n = cores.length;
  return Array.from({ length: ntasks }, (_, i) => {
    const from = Math.floor((i * n) / ntasks);
    const to = Math.max(from + 1, Math.floor(((i + 1) * n) / ntasks));
    return cpusOfCores(shell.host.topology(), cores.slice(from, to));
  });
}

/** "0-1;0x3": ids of task 0, of task 1, …, and over again for those that follow. */
export function parseMap(text: string, ntasks: number, whose: string): number[][] {
  const sets = text.split(";").filter((part) => part !== "").map((part) => parseSet(part) ?? []);
  if (sets.length === 0) throw new ShellExit(1, `${whose}: no cpusets found in affinity list ${text}`);
  const empty = sets.findIndex((set) => set.length === 0);
  if (empty >= 0) throw new ShellExit(1, `${whose}: cpuset ${text.split(";")[empty]} contains no cores or is invalid`);
  return Array.from({ length: ntasks }, (_, i) => sets[i % sets.length] ?? []);
}

/** An idset, a mask as taskset(1) writes it, or one as hwloc(7) does. Undefined for none of these. */
function parseSet(text: string): number[] | undefined {
  try {
    if (!text.startsWith("0x")) return IdSet.parse(text).toArray();
    return text.includes(",") ? parseCpuset(text).sort((a, b) => a - b) : fromMask(text);
  } catch {
    return undefined;
  }
}

function fromMask(text: string): number[] {
  const mask = BigInt(text);
  const cpus: number[] = [];
  for (let cpu = 0; mask >> BigInt(cpu) > 0n; cpu++) if ((mask >> BigInt(cpu)) & 1n) cpus.push(cpu);
  return cpus;
}
