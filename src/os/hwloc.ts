// The hwloc XML of this host, for those who ask for it (the broker's resource service): from hwloc's own lstopo
// where it is installed, because it knows caches and devices, otherwise a small document made from /sys.

import { readFileSync } from "node:fs";
import { arch, release, type as osType, version } from "node:os";

import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { formatCpuset, formatHwlocXml } from "./hwloc-xml.ts";
import { hostname } from "./hostname.ts";
import { shellExitCode } from "../formats/waitstatus.ts";
import { collectOutput, findProgram } from "./spawn.ts";
import { discoverTopology } from "./topology.ts";

const MACHINES: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64", ia32: "i686" };

export interface HwlocXmlOptions {
  /** false: all of the host, not only our CPU mask. */
  readonly restricted?: boolean;
  /** Only these CPUs. */
  readonly cpus?: readonly number[];
}

/**
 * hwloc XML of this host, restricted to our CPU mask. Takes 30 ms and more where lstopo is used. FLUX_HWLOC_XMLFILE names a
 * file that is taken for the host.
 */
export async function hwlocXml(options: HwlocXmlOptions = {}): Promise<string> {
  const given = process.env["FLUX_HWLOC_XMLFILE"];
  const file = given === "" ? undefined : given;
  if (file !== undefined && options.cpus === undefined) return readFile(file);
  const lstopo = lstopoPath();
  if (lstopo === undefined) return systemXml(options.restricted === false ? "all" : options.cpus);
  const argv = [lstopo, "--of", "xml", ...(file === undefined ? [] : ["-i", file]), ...restriction(options)];
  const { status, stdout, stderr } = await collectOutput({ argv });
  if (status !== 0) throw new FluxError(errno.EIO, `${lstopo} ended with ${shellExitCode(status)}: ${stderr.trim()}`);
  return stdout;
}

function restriction({ restricted, cpus }: HwlocXmlOptions): string[] {
  if (restricted === false) return [];
  return ["--restrict", cpus === undefined ? "binding" : formatCpuset(cpus)];
}

function readFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw toFluxError(error, errno.EIO);
  }
}

function lstopoPath(): string | undefined {
  try {
    return findProgram("lstopo-no-graphics", process.env["PATH"], "/");
  } catch {
    return undefined; // not installed
  }
}

/** The document made from /sys, without hwloc, with the CPUs that may be used (default: our mask). */
export function systemXml(allowed?: readonly number[] | "all"): string {
  return formatHwlocXml(discoverTopology(allowed === undefined ? {} : { allowed }), {
    HostName: hostname(),
    OSName: osType(),
    OSRelease: release(),
    OSVersion: version(),
    Architecture: MACHINES[arch()] ?? arch(),
  });
}
