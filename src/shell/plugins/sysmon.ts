// sysmon: says at the end how much memory and CPU the tasks of this node used; with -o verbose=2 also now and then while they run.
// Options: sysmon; sysmon.period=FSD (default: with the instance's heartbeat).
//
// In a control group of the job's own, the kernel's figures for it; otherwise the sums over the tasks' processes, where memory is
// the highest that was seen.
import { join } from "node:path";
import type { Subscription } from "../../client/flux.ts";
import { parseDuration } from "../../formats/fsd.ts";
import { isJsonObject, type Json } from "../../formats/json.ts";
import { formatSize } from "../../formats/size.ts";
import { cgroupDirectory, groupOf, readNumberFile } from "../../os/cgroup.ts";
import type { Timer } from "../../os/clock.ts";
import { treeUsage } from "../../os/usage.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

interface Sample {
  readonly memory_bytes: number;
  readonly peak_bytes: number;
  readonly cpu_s: number;
}

export function sysmonPlugin(): Plugin {
  let period_s: number | undefined;
  let sample: (() => Sample) | undefined;
  let timer: Timer | undefined;
  let subscription: Subscription | undefined;
  let first = { cpu_s: 0, at_s: 0 };
  let last = first;

  const poll = (shell: Shell): void => {
    if (sample === undefined) return;
    const { memory_bytes, cpu_s } = sample();
    const now = { cpu_s, at_s: shell.host.clock.monotonic_ms() / 1000 };
    shell.log(LOG.trace, `memory.current=${formatSize(memory_bytes)}`, "sysmon");
    shell.log(LOG.trace, `loadavg=${load(last, now)}`, "sysmon");
    last = now;
  };
  const again = (shell: Shell): void => {
    timer = shell.host.clock.setTimer((period_s ?? 0) * 1000, () => {
      poll(shell);
      again(shell);
    });
  };
  return {
    name: "sysmon",
    init(shell) {
      const option = shell.option("sysmon");
      if (option === undefined || option === false || option === 0) return;
      period_s = periodOf(option);
      sample = sampler(shell);
      shell.log(LOG.debug, "sysmon is enabled", "sysmon");
    },
    async start(shell) {
      if (sample === undefined) return;
      first = last = { cpu_s: sample().cpu_s, at_s: shell.host.clock.monotonic_ms() / 1000 };
      if (period_s !== undefined && period_s > 0) again(shell);
      else subscription = await shell.h.subscribe("heartbeat.pulse", () => poll(shell));
    },
    finish(shell) {
      if (sample === undefined) return;
      const { peak_bytes, cpu_s } = sample();
      shell.log(LOG.notice, `memory.peak=${formatSize(peak_bytes)}`, "sysmon");
      shell.log(LOG.notice, `loadavg-overall=${load(first, { cpu_s, at_s: shell.host.clock.monotonic_ms() / 1000 })}`, "sysmon");
    },
    async exit(shell) {
      shell.host.clock.clear(timer);
      await subscription?.unsubscribe();
    },
  };
}

function load(from: { cpu_s: number; at_s: number }, to: { cpu_s: number; at_s: number }): string {
  const took_s = to.at_s - from.at_s;
  return (took_s > 0 ? Math.max(0, to.cpu_s - from.cpu_s) / took_s : 0).toFixed(2);
}

/** Seconds; undefined: the heartbeat. */
function periodOf(option: Json): number | undefined {
  if (!isJsonObject(option)) return undefined;
  const { period, ...others } = option;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new ShellExit(1, `sysmon: option parse error: sysmon.${unknown} is not known`);
  if (period === undefined) return undefined;
  try {
    const period_s = typeof period === "string" ? parseDuration(period) : typeof period === "number" ? period : -1;
    if (period_s >= 0 && Number.isFinite(period_s)) return period_s;
  } catch {
    // said below
  }
  throw new ShellExit(1, "sysmon: sysmon.period is not a valid FSD");
}

function sampler(shell: Shell): () => Sample {
  const directory = groupOf("self") === groupOf(process.ppid) ? undefined : cgroupDirectory("memory.peak");
  return directory === undefined ? processSampler(shell) : () => groupSample(directory);
}

function groupSample(directory: string): Sample {
  return {
    memory_bytes: readNumberFile(join(directory, "memory.current")) ?? 0,
    peak_bytes: readNumberFile(join(directory, "memory.peak")) ?? 0,
    cpu_s: (readNumberFile(join(directory, "cpu.stat"), "usage_usec") ?? 0) / 1e6,
  };
}

function processSampler(shell: Shell): () => Sample {
  let peak_bytes = 0;
  return () => {
    let memory_bytes = 0;
    let cpu_s = 0;
    for (const { child, status } of shell.tasks) {
      if (child === undefined) continue;
      const ended = status === undefined ? undefined : child.usage();
      const running = ended === undefined ? treeUsage(child.pid) : { memory_bytes: 0, cpu_s: ended.cpu_s };
      memory_bytes += running.memory_bytes;
      cpu_s += running.cpu_s;
      peak_bytes = Math.max(peak_bytes, ended?.peak_bytes ?? 0);
    }
    peak_bytes = Math.max(peak_bytes, memory_bytes);
    return { memory_bytes, peak_bytes, cpu_s };
  };
}
