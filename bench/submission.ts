// Lines of bench/speed.ts on submitting and running: loops of commands, many tasks in one job, PMI, and what else people would use.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Instance } from "./instance.ts";
import { command, comparison, type Line, script, SIMULATED } from "./line.ts";

/** Brokers that the tasks of a PMI exchange are spread over. */
const EXCHANGE_BROKERS = 16;

/** Every rank publishes a value, all meet, and each reads its neighbour's: the seconds at rank 0. */
function exchange(ranks: number, extra: Partial<Line> = {}): Line {
  const placement = [`-N${EXCHANGE_BROKERS}`, `--tasks-per-node=${ranks / EXCHANGE_BROKERS}`, "-o", "cpu-affinity=off"];
  return {
    name: `PMI exchange, ${ranks} ranks on ${EXCHANGE_BROKERS} brokers`,
    size: EXCHANGE_BROKERS,
    unit: "s",
    runs: 3,
    ...extra,
    measure: async (_flux, instance) => {
      const folder = mkdtempSync(join(tmpdir(), "flux-bench-"));
      try {
        const program = join(folder, "exchange");
        execFileSync("cc", ["-O2", "-o", program, join(import.meta.dir, "pmi-exchange.c"), "-ldl"]);
        let output = "";
        await (instance as Instance).run(["run", ...placement, program], { stdoutTo: (chunk) => (output += chunk.toString()) });
        return Number(/^seconds=([\d.]+)$/m.exec(output)?.[1]);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  };
}

export const SUBMISSION_LINES: readonly Line[] = [
  script("100 × flux run true", "for i in $(seq 100); do flux run true; done"),
  comparison("100 × mpiexec.hydra -n 1 true", "for i in $(seq 100); do mpiexec.hydra -n 1 true; done"),
  command("flux run of 1 000 tasks, 4 brokers", ["run", "-N4", "--tasks-per-node=250", "-o", "cpu-affinity=off", "true"], { size: 4, runs: 3 }),
  exchange(32),
  exchange(256),
  exchange(1024, { long: true }),
  script("10 000 × flux submit, from a shell loop", `for i in $(seq 10000); do flux submit --quiet ${SIMULATED} true; done`, { long: true }),
  script("flux bulksubmit --wait of 10 000 lines", "seq 10000 | flux bulksubmit --quiet --wait true {}", { long: true }),
  comparison("GNU parallel of 10 000 lines", "seq 10000 | parallel true {}", { long: true }),
];
