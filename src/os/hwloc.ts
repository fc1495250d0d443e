// The hwloc XML of this host, for those who ask for it (the broker's resource service): from hwloc's own lstopo
// where it is installed, because it knows caches and devices, otherwise a small document made from /sys.

import { readFileSync } from "node:fs";
import { arch, release, type as osType, version } from "node:os";

import { errno, FluxError, toFluxError } from "../message/errno.ts";
import { formatHwlocXml } from "./hwloc-xml.ts";
import { hostname } from "./hostname.ts";
import { shellExitCode } from "./signals.ts";
import { collectOutput, findProgram } from "./spawn.ts";
import { discoverTopology } from "./topology.ts";

const MACHINES: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64", ia32: "i686" };

/**
 * hwloc XML of this host, restricted to our CPU mask (`restricted: false`: all of it). Takes 30 ms and more where lstopo is
 * used. FLUX_HWLOC_XMLFILE names a file to return instead.
 */
export async function hwlocXml(options: { restricted?: boolean } = {}): Promise<string> {
  const file = process.env["FLUX_HWLOC_XMLFILE"];
  if (file !== undefined && file !== "") return readFile(file);
  const lstopo = lstopoPath();
  if (lstopo === undefined) return systemXml(options.restricted !== false);
  const restriction = options.restricted === false ? [] : ["--restrict", "binding"];
  const { status, stdout, stderr } = await collectOutput({ argv: [lstopo, "--of", "xml", ...restriction] });
  if (status !== 0) throw new FluxError(errno.EIO, `${lstopo} ended with ${shellExitCode(status)}: ${stderr.trim()}`);
  return stdout;
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

/** The document made from /sys, without hwloc. */
export function systemXml(restricted = true): string {
  return formatHwlocXml(discoverTopology(restricted ? {} : { allowed: "all" }), {
    HostName: hostname(),
    OSName: osType(),
    OSRelease: release(),
    OSVersion: version(),
    Architecture: MACHINES[arch()] ?? arch(),
  });
}
