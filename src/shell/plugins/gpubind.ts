// gpu-affinity: CUDA_VISIBLE_DEVICES names the GPUs that R gives to this node. Option: on (default), off, per-task, map:IDSET;IDSET…
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { parseMap } from "./affinity.ts";

/** Of no device: a job without GPUs must not use those that happen to be there. */
const NO_DEVICE = "-1";

export function gpubindPlugin(): Plugin {
  let perTask: (readonly number[])[] | undefined;
  return {
    name: "gpubind",
    init(shell) {
      const option = shell.option("gpu-affinity");
      const mode = typeof option === "string" ? option : "on";
      if (mode === "off") return shell.log(LOG.debug, "disabling affinity due to gpu-affinity=off", "gpubind");
      const gpus = shell.job.node.gpus.toArray();
      const ntasks = shell.taskmap.ntasksOf(shell.job.shellRank);
      shell.env["CUDA_VISIBLE_DEVICES"] = gpus.length > 0 ? gpus.join(",") : NO_DEVICE;
      shell.env["CUDA_DEVICE_ORDER"] ??= "PCI_BUS_ID";
      if (mode === "per-task") {
        const share = Math.floor(gpus.length / Math.max(1, ntasks));
        perTask = Array.from({ length: ntasks }, (_, i) => gpus.slice(i * share, (i + 1) * share));
      } else if (mode.startsWith("map:")) perTask = parseMap(mode.slice(4), ntasks);
    },
    taskInit(_shell, task) {
      const gpus = perTask?.[task.localId];
      if (gpus !== undefined) task.env["CUDA_VISIBLE_DEVICES"] = gpus.join(",");
    },
  };
}
