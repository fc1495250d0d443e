// rlimit: soft limits of the tasks, as the jobspec carries them from the submitter ({"core": 0, "nofile": 1024, "as": -1 …}).
// Limits that are what this process has anyway are left alone, which makes starting a task cheaper.
import { isJsonObject } from "../../formats/json.ts";
import { getRlimit, isRlimitName, launchNofile, UNLIMITED, type RlimitName } from "../../os/limits.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { ShellExit } from "../shell.ts";

export function rlimitPlugin(): Plugin {
  return {
    name: "rlimit",
    init(shell) {
      const option = shell.option("rlimit");
      if (!isJsonObject(option)) return;
      let bad = false;
      for (const [key, value] of Object.entries(option)) {
        const name = key === "ofile" ? "nofile" : key;
        if (!isRlimitName(name) || typeof value !== "number" || !Number.isInteger(value)) {
          shell.log(LOG.error, `invalid shell option rlimit.${key}=${JSON.stringify(value)}`, "rlimit");
          bad = true;
          continue;
        }
        const wanted = withinHard(name, value, () => shell.log(LOG.warning, `${key} exceeds current max, raising value to hard limit`, "rlimit"));
        if (wanted !== current(name)) shell.spawn.rlimits = { ...shell.spawn.rlimits, [name]: wanted };
      }
      if (bad) throw new ShellExit(1, "invalid rlimit shell option");
    },
  };
}

function current(name: RlimitName): number {
  return name === "nofile" ? launchNofile() : getRlimit(name).soft;
}

function withinHard(name: RlimitName, value: number, onCut: () => void): number {
  const { hard } = getRlimit(name);
  if (hard === UNLIMITED || (value !== UNLIMITED && value <= hard)) return value;
  onCut();
  return hard;
}
