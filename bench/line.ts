// A line of the table that bench/speed.ts prints: what is measured, and in what instance.
import { cleanEnvironment, type Instance, timeCommand } from "./instance.ts";

export interface Line {
  readonly name: string;
  /** Brokers of the instance it runs in; undefined: it starts its own, or needs none. */
  readonly size?: number;
  readonly unit: "s" | "jobs/s" | "MB";
  /** Runs are cut to this many for slow lines. */
  readonly runs?: number;
  /** Only with --long. */
  readonly long?: boolean;
  measure(flux: string, instance: Instance | undefined): Promise<number>;
}

/** For jobs that only the instance's bookkeeping is measured of: no process is started. */
export const SIMULATED = "--setattr=system.exec.test.run_duration=1ms";

/** The seconds of one command in an instance. */
export function command(name: string, args: readonly string[], extra: Partial<Line> = {}): Line {
  return { name, size: 1, unit: "s", ...extra, measure: (_flux, instance) => (instance as Instance).run(args) };
}

/** The seconds of `flux start`. */
export function start(name: string, args: readonly string[], extra: Partial<Line> = {}): Line {
  return { name, unit: "s", ...extra, measure: (flux) => timeCommand(flux, ["start", ...args], cleanEnvironment(flux)) };
}

/** The seconds of a shell script in an instance. */
export function script(name: string, text: string, extra: Partial<Line> = {}): Line {
  return { name, size: 1, unit: "s", runs: 1, ...extra, measure: (_flux, instance) => (instance as Instance).sh(text, { timeout_s: 3600 }) };
}

/** The seconds of a shell script that has nothing to do with Flux: what people compare it with. */
export function comparison(name: string, text: string, extra: Partial<Line> = {}): Line {
  return { name: `for comparison: ${name}`, unit: "s", runs: 1, ...extra, measure: (flux) => timeCommand("bash", ["-c", text], cleanEnvironment(flux)) };
}
