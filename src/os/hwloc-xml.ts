// hwloc's XML (version 2 of its format): read for the few objects that matter here, and written from a topology where hwloc itself is absent.
//
// Read: Package, NUMANode, Core, PU with their cpusets, and OSDev with a compute backend (CUDA, NVML, OpenCL, RSMI) as GPUs,
// counted once when two backends show the same PCI device, unless FLUX_HWLOC_GPU_NO_DEDUP is set.

import { errno, FluxError } from "../message/errno.ts";
import type { Core, Gpu, NumaNode, Topology } from "./topology.ts";

const XML_MAX_CHARS = 64 * 1024 * 1024;

/** hwloc's "0x00000001,0x0000000f" (32-bit words, highest first) as CPU numbers. EINVAL when it is not that. */
export function parseCpuset(text: string): number[] {
  const words = text.split(",").reverse();
  const cpus: number[] = [];
  for (const [at, word] of words.entries()) {
    if (word === "") continue; // hwloc leaves zero words empty
    if (word === "0xf...f") break; // a set without end: nothing here has one
    if (!/^0x[\da-fA-F]{1,8}$/.test(word)) throw new FluxError(errno.EINVAL, `${text} is not an hwloc CPU set`);
    const bits = Number(word);
    for (let bit = 0; bit < 32; bit++) if ((bits >>> bit) & 1) cpus.push(at * 32 + bit);
  }
  return cpus;
}

/** CPU numbers as hwloc writes them. */
export function formatCpuset(cpus: readonly number[]): string {
  const words: number[] = [0];
  for (const cpu of cpus) words[cpu >> 5] = ((words[cpu >> 5] ?? 0) | (1 << (cpu & 31))) >>> 0;
  return Array.from(words, (word) => `0x${(word ?? 0).toString(16).padStart(8, "0")}`)
    .reverse()
    .join(",");
}

interface XmlObject {
  type: string;
  attributes: Map<string, string>;
  infos: Map<string, string>;
  parent: XmlObject | undefined;
}

function unescapeXml(text: string): string {
  return text.replace(/&(lt|gt|amp|quot|apos|#(\d+)|#x([\da-fA-F]+));/g, (whole, name: string, decimal?: string, hex?: string) => {
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    if (hex !== undefined) return String.fromCodePoint(Number.parseInt(hex, 16));
    return { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" }[name] ?? whole;
  });
}

function escapeXml(text: string): string {
  return text.replace(/[<>&"]/g, (char) => ({ "<": "&lt;", ">": "&gt;", "&": "&amp;" })[char] ?? "&quot;");
}

function attributesOf(text: string): Map<string, string> {
  return new Map([...text.matchAll(/([\w-]+)="([^"]*)"/g)].map((match) => [match[1] ?? "", unescapeXml(match[2] ?? "")]));
}

/** The objects of a document, parents before children. */
function readObjects(xml: string): XmlObject[] {
  if (xml.length > XML_MAX_CHARS) throw new FluxError(errno.EFBIG, `hwloc XML of ${xml.length} characters, the limit is ${XML_MAX_CHARS}`);
  if (!xml.includes("<topology")) throw new FluxError(errno.EINVAL, "this is not hwloc XML: it has no <topology>");
  const objects: XmlObject[] = [];
  let open: XmlObject | undefined;
  for (const match of xml.matchAll(/<(object|info)\b([^>]*?)(\/?)>|<\/object>/g)) {
    const [, tag, text = "", selfClosing] = match;
    if (tag === undefined) {
      open = open?.parent;
      continue;
    }
    const attributes = attributesOf(text);
    if (tag === "info") {
      open?.infos.set(attributes.get("name") ?? "", attributes.get("value") ?? "");
      continue;
    }
    const object: XmlObject = { type: attributes.get("type") ?? "", attributes, infos: new Map(), parent: open };
    objects.push(object);
    if (selfClosing !== "/") open = object;
  }
  if (open !== undefined) throw new FluxError(errno.EINVAL, "hwloc XML ends inside an object");
  return objects;
}

const COMPUTE_BACKENDS = new Map<string, Gpu["vendor"]>([
  ["CUDA", "nvidia"],
  ["NVML", "nvidia"],
  ["OpenCL", "other"],
  ["RSMI", "amd"],
]);

function gpusOf(objects: readonly XmlObject[], all: boolean): Gpu[] {
  const backendOfDevice = new Map<XmlObject, string>();
  const gpus: Gpu[] = [];
  for (const object of objects) {
    if (object.type !== "OSDev") continue;
    const backend = object.infos.get("Backend") ?? "";
    const vendor = COMPUTE_BACKENDS.get(backend);
    if (vendor === undefined) continue;
    let pci = object.parent;
    while (pci !== undefined && pci.type !== "PCIDev") pci = pci.parent;
    const name = object.attributes.get("name") ?? "";
    if (pci !== undefined && !all) {
      const first = backendOfDevice.get(pci);
      if (first !== undefined && first !== backend) continue; // the same device by another way; one backend twice is partitions
      backendOfDevice.set(pci, backend);
    }
    gpus.push({ vendor, id: pci?.attributes.get("pci_busid") ?? name });
  }
  return gpus;
}

function cpusetOf(object: XmlObject): number[] {
  return parseCpuset(object.attributes.get("cpuset") ?? "0x0");
}

function indexOf(object: XmlObject): number {
  return Number(object.attributes.get("os_index") ?? 0);
}

/** Cores, packages, NUMA nodes and GPUs of an hwloc XML document. EINVAL when it is no such document or has no core. */
export function parseHwlocXml(xml: string, env: Readonly<Record<string, string | undefined>> = process.env): Topology {
  const objects = readObjects(xml);
  const ofType = (type: string): XmlObject[] => objects.filter((object) => object.type === type);
  const packages = ofType("Package").map((object) => ({ os_index: indexOf(object), cpus: new Set(cpusetOf(object)) }));
  const nodes = ofType("NUMANode").map((object) => ({
    os_index: indexOf(object),
    memory_bytes: Number(object.attributes.get("local_memory") ?? 0),
    cpus: new Set(cpusetOf(object)),
  }));
  // Some virtual machines show CPUs without cores: each counts as one, as hwloc users have it.
  const units = ofType("Core").length > 0 ? ofType("Core") : ofType("PU");
  const cores = units.map((object): Core => {
    const cpus = cpusetOf(object);
    const first = cpus[0] ?? -1;
    return {
      cpus,
      package: Math.max(0, packages.findIndex((set) => set.cpus.has(first))),
      numaNodes: nodes.flatMap((node, at) => (node.cpus.has(first) ? [at] : [])),
    };
  });
  if (cores.length === 0) throw new FluxError(errno.EINVAL, "hwloc XML has no core");
  return {
    cores,
    packages: packages.length > 0 ? packages.map((set) => set.os_index) : [0],
    numaNodes: nodes.map(({ os_index, memory_bytes }): NumaNode => ({ os_index, memory_bytes })),
    gpus: gpusOf(objects, (env["FLUX_HWLOC_GPU_NO_DEDUP"] ?? "") !== ""),
  };
}

/** The HostName of an hwloc document, or undefined. */
export function hostnameOfHwlocXml(xml: string): string | undefined {
  return readObjects(xml).find((object) => object.type === "Machine")?.infos.get("HostName");
}

/** What else stands in a document: strings of the Machine object. */
export interface MachineInfo {
  HostName: string;
  OSName?: string;
  OSRelease?: string;
  OSVersion?: string;
  Architecture?: string;
}

/** A small valid document (Machine, Package, NUMANode, Core, PU) that hwloc 2 loads. GPUs are not in it: they need PCI details. */
export function formatHwlocXml(topology: Topology, machine: MachineInfo): string {
  const lines: string[] = [];
  let gp_index = 0;
  const all = topology.cores.flatMap((core) => core.cpus);
  const nodes = topology.numaNodes.length > 0 ? topology.numaNodes : [{ os_index: 0, memory_bytes: 0 }];
  const cpusOfNode = (at: number): number[] =>
    topology.numaNodes.length === 0 ? all : topology.cores.filter((core) => core.numaNodes.includes(at)).flatMap((core) => core.cpus);
  const nodesOf = (cpus: readonly number[]): number[] => {
    const set = new Set(cpus);
    return nodes.filter((_, at) => cpusOfNode(at).some((cpu) => set.has(cpu))).map((node) => node.os_index);
  };
  const common = (type: string, os_index: number | undefined, cpus: readonly number[], nodeset: readonly number[]): string => {
    const set = formatCpuset(cpus);
    const memory = formatCpuset(nodeset);
    const index = os_index === undefined ? "" : ` os_index="${os_index}"`;
    return `<object type="${type}"${index} cpuset="${set}" complete_cpuset="${set}" nodeset="${memory}" complete_nodeset="${memory}" gp_index="${++gp_index}"`;
  };
  const emitNode = (at: number, indent: string): void => {
    const node = nodes[at];
    if (node === undefined) return;
    lines.push(`${indent}${common("NUMANode", node.os_index, cpusOfNode(at), [node.os_index])} local_memory="${node.memory_bytes}"/>`);
  };
  const emitCores = (cores: readonly Core[], indent: string): void => {
    for (const core of cores) {
      lines.push(`${indent}${common("Core", topology.cores.indexOf(core), core.cpus, nodesOf(core.cpus))}>`);
      for (const cpu of core.cpus) lines.push(`${indent}  ${common("PU", cpu, [cpu], nodesOf([cpu]))}/>`);
      lines.push(`${indent}</object>`);
    }
  };
  const placed = new Set<number>();
  const emitEqualNodes = (cpus: readonly number[], indent: string): void => {
    const wanted = formatCpuset([...cpus].sort((a, b) => a - b));
    for (const at of nodes.keys()) {
      if (placed.has(at) || formatCpuset(cpusOfNode(at)) !== wanted) continue;
      placed.add(at);
      emitNode(at, indent);
    }
  };

  const nodeset = formatCpuset(nodes.map((node) => node.os_index));
  const machineSets = `allowed_cpuset="${formatCpuset(all)}" allowed_nodeset="${nodeset}"`;
  lines.push('<?xml version="1.0" encoding="UTF-8"?>', '<!DOCTYPE topology SYSTEM "hwloc2.dtd">', '<topology version="2.0">');
  lines.push(`  ${common("Machine", 0, all, nodes.map((node) => node.os_index))} ${machineSets}>`);
  for (const [name, value] of Object.entries({ Backend: "Linux", ...machine })) {
    if (typeof value === "string") lines.push(`    <info name="${name}" value="${escapeXml(value)}"/>`);
  }
  if (topology.packages.length > 1) emitEqualNodes(all, "    ");
  for (const [at, os_index] of topology.packages.entries()) {
    const cores = topology.cores.filter((core) => core.package === at);
    const cpus = cores.flatMap((core) => core.cpus);
    lines.push(`    ${common("Package", os_index, cpus, nodesOf(cpus))}>`);
    emitEqualNodes(cpus, "      ");
    const inNode = Map.groupBy(cores, (core) => core.numaNodes.find((node) => !placed.has(node)));
    for (const [node, members] of inNode) {
      if (node === undefined) {
        emitCores(members, "      ");
        continue;
      }
      const memberCpus = members.flatMap((core) => core.cpus);
      lines.push(`      ${common("Group", undefined, memberCpus, nodesOf(memberCpus))} kind="0" subkind="0">`);
      emitEqualNodes(memberCpus, "        ");
      emitCores(members, "        ");
      lines.push("      </object>");
    }
    lines.push("    </object>");
  }
  lines.push("  </object>", "</topology>", "");
  return lines.join("\n");
}
