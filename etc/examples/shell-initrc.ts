// An initrc of the job shell: a site's defaults, a check, and a report of slow or failed tasks.
//
//   flux run -o userrc=etc/examples/shell-initrc.ts -n4 ./app        for one job
//   flux start -Sconf.shell_initrc=/etc/flux/shell/initrc.ts         for all jobs of an instance
//
// What an initrc is given stands in src/client/initrc.ts and in flux-shell-initrc(5). The types below are for an editor; a file
// elsewhere can leave out the import, or point it to its copy of the sources.
import { defineInitrc } from "../../src/client/initrc.ts";

/** A task that goes on for so much longer than the first one is worth a line. */
const SLOW_FACTOR = 2;

export default defineInitrc((shell) => {
  // Defaults, which a user's own -o options override.
  shell.options["cpu-affinity"] ??= "per-task";
  shell.options["exit-timeout"] ??= "5m";
  shell.env["OMP_NUM_THREADS"] ??= String(Math.max(1, Math.floor(shell.rankinfo.resources.ncores / Math.max(1, shell.rankinfo.ntasks))));

  // A check that ends the job before anything runs.
  if (shell.env["LD_PRELOAD"] !== undefined) shell.die("jobs with LD_PRELOAD are not welcome here");

  // `flux run -o vmstat` samples memory and CPU beside the job.
  shell.defineCoprocess({ name: "vmstat", command: ["vmstat", "5"], output: "vmstat-{{id}}-{{node.id}}.log" });

  const started_ms = new Map<number, number>();
  let first_ms: number | undefined;
  shell.register({
    name: "report",
    "task.fork": ({ task }) => {
      started_ms.set(task.rank, shell.clock.monotonic_ms());
    },
    "task.exit": ({ task }) => {
      const took_ms = shell.clock.monotonic_ms() - (started_ms.get(task.rank) ?? 0);
      first_ms ??= took_ms;
      if (task.exitcode !== 0) shell.error(`task ${task.rank} on ${shell.rankinfo.name} ended with ${task.exitcode}`);
      else if (took_ms > SLOW_FACTOR * first_ms) shell.debug(`task ${task.rank} took ${(took_ms / 1000).toFixed(1)} s`);
    },
  });
});
