// The cores, CPUs, NUMA nodes and GPUs of this host, as a scheduler counts them.
//
// A core's number here is hwloc's logical index within what this process may use: cores are numbered in the order of the
// machine's tree (package, NUMA node, shared cache, core), and cores without a CPU in our CPU mask are left out before
// numbering. The same numbers stand in R, and the shell turns them back into CPUs with `cpusOfCore`.
//
// Read from /sys, which takes about a millisecond; the answer for cores is hwloc's. GPUs are what the drivers show: those
// of NVIDIA in /proc/driver/nvidia, those of AMD as nodes of the compute driver (a partition is a GPU).
// FLUX_HWLOC_XMLFILE names an hwloc XML file to read instead (tests); with FLUX_HWLOC_XMLFILE_NOT_THISSYSTEM our CPU mask
// does not matter.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { getAffinity } from "./affinity.ts";
import { parseHwlocXml } from "./hwloc-xml.ts";

export interface Core {
  /** OS indexes of its CPUs (hardware threads) that this process may use, ascending; never empty. */
  cpus: number[];
  /** Position in `packages`. */
  package: number;
  /** Positions in `numaNodes`; empty when the system says nothing. */
  numaNodes: number[];
}

export interface NumaNode {
  os_index: number;
  memory_bytes: number;
}

export interface Gpu {
  vendor: "nvidia" | "amd" | "other";
  /** PCI address where there is one, or the driver's name for it. */
  id: string;
}

export interface Topology {
  /** By logical index. */
  cores: Core[];
  /** OS index of each package (socket) that has one of our cores. */
  packages: number[];
  numaNodes: NumaNode[];
  /** By the index that R uses. */
  gpus: Gpu[];
}

export interface DiscoverOptions {
  /** Where /sys is (a copy of another machine's, in tests). */
  sys?: string;
  /** Where /proc is. */
  proc?: string;
  /** CPUs that may be used. Default: our CPU mask. "all": every one that is online. */
  allowed?: readonly number[] | "all";
  env?: Readonly<Record<string, string | undefined>>;
}

/** OS indexes of the CPUs of a core. ENOENT when there is no core of that number. */
export function cpusOfCore(topology: Topology, logicalCore: number): number[] {
  const core = topology.cores[logicalCore];
  if (core === undefined) {
    throw new FluxError(errno.ENOENT, `core ${logicalCore} is not among the ${topology.cores.length} cores of this host`);
  }
  return core.cpus;
}

/** OS indexes of the CPUs of several cores, ascending. */
export function cpusOfCores(topology: Topology, logicalCores: Iterable<number>): number[] {
  const cpus: number[] = [];
  for (const core of logicalCores) cpus.push(...cpusOfCore(topology, core));
  return cpus.sort((a, b) => a - b);
}

/** What this host has. Throws ENOENT when neither /sys nor /proc tells of any CPU. */
export function discoverTopology(options: DiscoverOptions = {}): Topology {
  const env = options.env ?? process.env;
  const file = env["FLUX_HWLOC_XMLFILE"];
  if (file !== undefined && file !== "") {
    const foreign = env["FLUX_HWLOC_XMLFILE_NOT_THISSYSTEM"] !== undefined;
    return restrict(parseHwlocXml(readXmlFile(file), env), foreign ? "all" : (options.allowed ?? getAffinity()));
  }
  return restrict(readSystem(options.sys ?? "/sys", options.proc ?? "/proc"), options.allowed ?? getAffinity());
}

function readXmlFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { errno: number } = toFluxError(error, errno.EIO);
    throw new FluxError(number, `FLUX_HWLOC_XMLFILE ${path}: ${strerror(number)}`, { cause: error });
  }
}

/** Leave out the CPUs that are not allowed, then the cores, packages and NUMA nodes that have none left. */
function restrict(topology: Topology, allowed: readonly number[] | "all"): Topology {
  if (allowed === "all") return topology;
  const may = new Set(allowed);
  const cores = topology.cores.map((core) => ({ ...core, cpus: core.cpus.filter((cpu) => may.has(cpu)) })).filter((core) => core.cpus.length > 0);
  const packages = [...new Set(cores.map((core) => core.package))];
  const numa = [...new Set(cores.flatMap((core) => core.numaNodes))];
  return {
    cores: cores.map((core) => ({
      cpus: core.cpus,
      package: packages.indexOf(core.package),
      numaNodes: core.numaNodes.map((node) => numa.indexOf(node)),
    })),
    packages: packages.map((at) => topology.packages[at] ?? 0),
    numaNodes: numa.map((at) => topology.numaNodes[at] ?? { os_index: at, memory_bytes: 0 }),
    gpus: topology.gpus,
  };
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1").trim();
  } catch {
    return undefined; // not every kernel has every file
  }
}

/** "0-3,8" of the kernel as numbers. */
export function parseCpuList(text: string): number[] {
  const cpus: number[] = [];
  for (const part of text.trim().split(",")) {
    const range = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (range === null) continue; // an empty list
    const first = Number(range[1]);
    const last = Number(range[2] ?? first);
    for (let cpu = first; cpu <= last; cpu++) cpus.push(cpu);
  }
  return cpus;
}

interface Numbered {
  cpus: number[];
  os_index: number;
}

/** Sets of CPUs of one kind, each read once, through the file that the first of its CPUs has. */
function groups(cpus: readonly number[], read: (cpu: number) => Numbered | undefined): Numbered[] {
  const seen = new Set<number>();
  const found: Numbered[] = [];
  for (const cpu of cpus) {
    if (seen.has(cpu)) continue;
    const group = read(cpu) ?? { cpus: [cpu], os_index: cpu };
    if (!group.cpus.includes(cpu)) group.cpus.push(cpu);
    for (const member of group.cpus) seen.add(member);
    found.push(group);
  }
  return found;
}

function readSystem(sys: string, proc: string): Topology {
  const cpuRoot = join(sys, "devices/system/cpu");
  const online = parseCpuList(readText(join(cpuRoot, "online")) ?? "");
  const all = online.length > 0 ? online : cpusOfProc(proc);
  if (all.length === 0) throw new FluxError(errno.ENOENT, `no CPU is found in ${cpuRoot} nor in ${proc}/cpuinfo`);
  const isOnline = new Set(all);
  const listed = (text: string | undefined): number[] => parseCpuList(text ?? "").filter((cpu) => isOnline.has(cpu));
  const topologyOf = (cpu: number, names: readonly string[]): number[] | undefined => {
    for (const name of names) {
      const text = readText(join(cpuRoot, `cpu${cpu}`, "topology", name));
      if (text !== undefined && text !== "") return listed(text);
    }
    return undefined;
  };
  const idOf = (cpu: number, name: string): number => Number(readText(join(cpuRoot, `cpu${cpu}`, "topology", name)) ?? 0);

  const packages = groups(all, (cpu) => {
    const cpus = topologyOf(cpu, ["package_cpus_list", "core_siblings_list"]);
    return cpus === undefined ? { cpus: [...all], os_index: 0 } : { cpus, os_index: Math.max(0, idOf(cpu, "physical_package_id")) };
  });
  const cores = groups(all, (cpu) => {
    const cpus = topologyOf(cpu, ["core_cpus_list", "thread_siblings_list"]);
    return cpus === undefined ? undefined : { cpus, os_index: 0 };
  });
  const caches = [2, 3, 4].flatMap((index) => cacheGroups(cpuRoot, all, index, listed));
  const dies = groups(all, (cpu) => {
    const cpus = topologyOf(cpu, ["die_cpus_list"]);
    return cpus === undefined ? undefined : { cpus, os_index: 0 };
  });
  const numa = readNuma(sys, listed);
  const order = treeOrder(cores, [...packages, ...dies, ...numa, ...caches]);
  const firstCpus = order.map((core) => core.cpus[0] ?? 0);
  const packageOf = memberIndex(packages);
  const packageOrder = [...new Set(firstCpus.map((cpu) => packageOf.get(cpu) ?? 0))];
  const numaOf = memberIndex(numa);
  return {
    cores: order.map((core, at) => {
      const node = numaOf.get(firstCpus[at] ?? 0);
      return {
        cpus: core.cpus.sort((a, b) => a - b),
        package: packageOrder.indexOf(packageOf.get(firstCpus[at] ?? 0) ?? 0),
        numaNodes: node === undefined ? [] : [node],
      };
    }),
    packages: packageOrder.map((at) => packages[at]?.os_index ?? 0),
    numaNodes: numa.map(({ os_index, memory_bytes }) => ({ os_index, memory_bytes })),
    gpus: readGpus(sys, proc),
  };
}

function memberIndex(sets: readonly Numbered[]): Map<number, number> {
  const index = new Map<number, number>();
  for (const [at, set] of sets.entries()) for (const cpu of set.cpus) index.set(cpu, at);
  return index;
}

/**
 * Cores in the order of hwloc's tree: by what encloses them, largest first, siblings by their lowest CPU.
 * Only which set encloses which matters, so the levels need no names.
 */
function treeOrder(cores: Numbered[], enclosing: readonly Numbered[]): Numbered[] {
  const bySize = enclosing.filter((set) => set.cpus.length > 0).sort((a, b) => b.cpus.length - a.cpus.length);
  const keys = new Map<number, number[]>();
  for (const set of bySize) {
    const lowest = set.cpus.reduce((a, b) => Math.min(a, b));
    for (const cpu of set.cpus) {
      const key = keys.get(cpu);
      if (key === undefined) keys.set(cpu, [lowest]);
      else key.push(lowest);
    }
  }
  const keyed = cores.map((core) => {
    const lowest = core.cpus.reduce((a, b) => Math.min(a, b));
    return { core, key: [...(keys.get(lowest) ?? []), lowest] };
  });
  keyed.sort((a, b) => {
    for (let i = 0; i < a.key.length && i < b.key.length; i++) {
      const difference = (a.key[i] ?? 0) - (b.key[i] ?? 0);
      if (difference !== 0) return difference;
    }
    return a.key.length - b.key.length;
  });
  return keyed.map(({ core }) => core);
}

/** Caches that several cores share, of one index directory. */
function cacheGroups(cpuRoot: string, all: readonly number[], index: number, listed: (text: string | undefined) => number[]): Numbered[] {
  const first = all[0] ?? 0;
  if (!existsSync(join(cpuRoot, `cpu${first}/cache/index${index}/shared_cpu_list`))) return [];
  return groups(all, (cpu) => {
    const cpus = listed(readText(join(cpuRoot, `cpu${cpu}/cache/index${index}/shared_cpu_list`)));
    return cpus.length === 0 ? undefined : { cpus, os_index: 0 };
  });
}

function readNuma(sys: string, listed: (text: string | undefined) => number[]): Array<Numbered & NumaNode> {
  const root = join(sys, "devices/system/node");
  return parseCpuList(readText(join(root, "online")) ?? "").map((os_index) => ({
    os_index,
    cpus: listed(readText(join(root, `node${os_index}`, "cpulist"))),
    memory_bytes: 1024 * Number(/MemTotal:\s*(\d+)/.exec(readText(join(root, `node${os_index}`, "meminfo")) ?? "")?.[1] ?? 0),
  }));
}

function cpusOfProc(proc: string): number[] {
  return [...(readText(join(proc, "cpuinfo")) ?? "").matchAll(/^processor\s*:\s*(\d+)/gm)].map((match) => Number(match[1]));
}

function listDirectory(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}

function readGpus(sys: string, proc: string): Gpu[] {
  const nvidia = listDirectory(join(proc, "driver/nvidia/gpus"))
    .sort()
    .map((id): Gpu => ({ vendor: "nvidia", id }));
  const nodes = join(sys, "class/kfd/kfd/topology/nodes");
  const amd = listDirectory(nodes)
    .sort((a, b) => Number(a) - Number(b))
    .filter((node) => Number(readText(join(nodes, node, "gpu_id")) ?? 0) !== 0) // 0: a CPU
    .map((node): Gpu => ({ vendor: "amd", id: `kfd${node}` }));
  return [...nvidia, ...amd];
}
