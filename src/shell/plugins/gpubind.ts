// gpu-affinity: CUDA_VISIBLE_DEVICES names the GPUs that R gives to this node; on nodes with GPUs of AMD it is ROCR_VISIBLE_DEVICES,
// since their runtime would apply the one to what the other has left. Option: on (default), off, per-task, map:SET;SET…
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import type { Shell } from "../shell.ts";
import { parseMap } from "./affinity.ts";

/** Of no device: a job without GPUs must not use those that happen to be there. */
const NO_DEVICE = "-1";

export function gpubindPlugin(): Plugin {
  let perTask: (readonly number[])[] | undefined;
  let variable = "CUDA_VISIBLE_DEVICES";
  return {
    name: "gpubind",
    init(shell) {
      const mode = modeOf(shell);
      if (mode === "off") return shell.log(LOG.debug, "disabling affinity due to gpu-affinity=off", "gpubind");
      const gpus = shell.job.node.gpus.toArray();
      const ntasks = shell.taskmap.ntasksOf(shell.job.shellRank);
      if (gpus.length > 0 && hasAmdGpus(shell)) {
        variable = "ROCR_VISIBLE_DEVICES";
        delete shell.env["CUDA_VISIBLE_DEVICES"];
      }
      shell.env[variable] = gpus.length > 0 ? gpus.join(",") : NO_DEVICE;
      shell.env["CUDA_DEVICE_ORDER"] ??= "PCI_BUS_ID";
      if (mode === "per-task") perTask = shares(gpus, ntasks);
      else if (mode.startsWith("map:")) perTask = parseMap(mode.slice(4), ntasks, "gpubind");
    },
    taskInit(_shell, task) {
      const gpus = perTask?.[task.localId];
      if (gpus !== undefined) task.env[variable] = gpus.join(",");
    },
  };
}

function modeOf(shell: Shell): string {
  const option = shell.option("gpu-affinity");
  if (typeof option === "string") return option;
  if (option !== undefined) shell.log(LOG.warning, "Failed to get gpu-affinity shell option, ignoring", "gpubind");
  return "on";
}

function hasAmdGpus(shell: Shell): boolean {
  try {
    return shell.host.topology().gpus.some(({ vendor }) => vendor === "amd");
  } catch {
    return false; // the host tells nothing
  }
}

/** As many for each, and what is left over for none; with more tasks than GPUs, tasks share one. */
function shares(gpus: readonly number[], ntasks: number): number[][] {
  const share = Math.floor(gpus.length / Math.max(1, ntasks));
  if (share === 0) return Array.from({ length: ntasks }, (_, i) => gpus.slice(Math.floor((i * gpus.length) / ntasks)).slice(0, 1));
  return Array.from({ length: ntasks }, (_, i) => gpus.slice(i * share, (i + 1) * share));
}
