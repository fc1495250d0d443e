// hwloc: tasks that use hwloc need not look at the machine themselves. Option hwloc.xmlfile: the node's topology as XML in
// FLUX_JOB_TMPDIR, named by HWLOC_XMLFILE; hwloc.restrict: only what R gives to the job.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { hwlocXml } from "../../os/hwloc.ts";
import { cpusOfCores } from "../../os/topology.ts";
import { formatError } from "../failure.ts";
import { LOG } from "../log.ts";
import { partsOf } from "../parts.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

export function hwlocPlugin(): Plugin {
  return {
    name: "hwloc",
    // After cpu-affinity, which knows the CPUs.
    allReady(shell) {
      const option = partsOf(shell.option("hwloc"), "hwloc", "hwloc.xmlfile");
      for (const [name, value] of Object.entries(option)) {
        const known = (name === "xmlfile" || name === "restrict") && (typeof value === "number" || typeof value === "boolean");
        if (!known) throw new ShellExit(1, `hwloc: failed to unpack hwloc options: hwloc.${name}`);
      }
      return Number(option["xmlfile"] ?? 0) === 0 ? undefined : writeXml(shell, Number(option["restrict"] ?? 0) !== 0);
    },
  };
}

async function writeXml(shell: Shell, restricted: boolean): Promise<void> {
  const path = join(shell.env["FLUX_JOB_TMPDIR"] ?? "/tmp", "hwloc.xml");
  try {
    const xml = await hwlocXml(restricted ? { cpus: cpusOfCores(shell.host.topology(), shell.job.node.cores.toArray()) } : { restricted: false });
    shell.log(LOG.debug, `Writing ${Buffer.byteLength(xml)} bytes to HWLOC_XMLFILE=${path}`, "hwloc");
    writeFileSync(path, xml, { mode: 0o640, flag: "wx" });
  } catch (err) {
    throw new ShellExit(1, `hwloc: failed to write HWLOC_XMLFILE: ${formatError(err)}`);
  }
  shell.env["HWLOC_XMLFILE"] ??= path;
  // It would make hwloc ignore the file.
  delete shell.env["HWLOC_COMPONENTS"];
}
