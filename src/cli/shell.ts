// flux shell: a job shell, started by the broker's job-exec (never by people). Its broker is $FLUX_URI.
import { Flux } from "../client/flux.ts";
import { runWorker } from "../shell/worker.ts";
import { defineCommand } from "./command.ts";

export default defineCommand({
  name: "shell",
  style: "getopt",
  summary: "run the tasks of a job",
  usage: "",
  details: "Waits at the broker named by FLUX_URI for jobs and runs their tasks. Started by the job-exec module.",
  options: {},
  async run() {
    // Signals are for tasks: job-exec sends them as messages. A terminal's Ctrl-C must not end the shells of an instance.
    for (const signal of ["SIGINT", "SIGHUP", "SIGQUIT"] as const) process.on(signal, () => undefined);
    const h = await Flux.open();
    await runWorker(h, { pid: process.pid });
    h.close();
    // Not by and by: what a job left open must not keep a shell that nobody knows of any more, and with it the output of whoever
    // started the instance.
    process.exit(0);
  },
});
