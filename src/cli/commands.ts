// The commands of `flux`: name → one line for lists, and how to load it. A command's file is read only when it is
// called.
import type { CommandSpecAny } from "./command.ts";

export interface CommandEntry {
  readonly summary: string;
  readonly load: () => Promise<{ default: CommandSpecAny }>;
  /** Not shown in lists: something that Flux starts itself. */
  readonly hidden?: boolean;
}

/** In the order `flux help` shows them. */
export const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  start: { summary: "bootstrap a Flux instance", load: () => import("./start.ts") },
  admin: { summary: "administrate an instance", load: () => import("./admin.ts") },
  shutdown: { summary: "shut an instance down", load: () => import("./shutdown.ts") },
  broker: { summary: "run one Flux broker", load: () => import("./broker.ts"), hidden: true },
  shell: { summary: "run the tasks of a job", load: () => import("./shell.ts"), hidden: true },
  kvs: { summary: "read and write the instance's key-value store", load: () => import("./kvs.ts") },
  content: { summary: "access the content store", load: () => import("./content.ts") },
  dump: { summary: "write a snapshot of the KVS to an archive", load: () => import("./dump.ts") },
  restore: { summary: "read a snapshot of the KVS from an archive", load: () => import("./restore.ts") },
  fsck: { summary: "check that the KVS has all of its content", load: () => import("./fsck.ts") },
  gc: { summary: "free the space of content that nothing refers to any more", load: () => import("./gc.ts") },
  ping: { summary: "measure the round trip to a service", load: () => import("./ping.ts") },
  getattr: { summary: "print an attribute of the broker", load: () => import("./getattr.ts") },
  setattr: { summary: "change an attribute of the broker", load: () => import("./setattr.ts") },
  lsattr: { summary: "list the attributes of the broker", load: () => import("./lsattr.ts") },
  event: { summary: "publish and watch events", load: () => import("./event.ts") },
  dmesg: { summary: "print or clear the broker's log", load: () => import("./dmesg.ts") },
  logger: { summary: "add a message to the broker's log", load: () => import("./logger.ts") },
  module: { summary: "list, load, remove and inspect the broker's modules", load: () => import("./module.ts") },
  archive: { summary: "keep files in the instance and copy them to its nodes", load: () => import("./archive.ts") },
  cron: { summary: "run commands at intervals, at points in time, and on events", load: () => import("./cron.ts") },
  exec: { summary: "run a command on brokers, outside of any job", load: () => import("./exec.ts") },
  overlay: { summary: "show the tree of brokers and its state", load: () => import("./overlay.ts") },
  config: { summary: "print and change the broker's configuration", load: () => import("./config.ts") },
  startlog: { summary: "list when the instance ran", load: () => import("./startlog.ts") },
  hostlist: { summary: "fetch, combine and cut lists of hosts", load: () => import("./hostlist.ts") },
  R: { summary: "make, read and compute with resource sets", load: () => import("./R.ts") },
  keygen: { summary: "make a certificate for the brokers of a system instance", load: () => import("./keygen.ts") },
  pmi: { summary: "try the PMI of a launcher", load: () => import("./pmi.ts") },
  env: { summary: "print the environment of this instance, or run a command in it", load: () => import("./env.ts") },
  python: { summary: "run a Python interpreter that finds Flux's bindings", load: () => import("./python.ts") },
  modprobe: { summary: "load and remove modules with what they require, and run rc files", load: () => import("./modprobe.ts") },
  version: { summary: "print versions of the commands and the broker", load: () => import("./version.ts") },
  help: { summary: "show the list of commands, or the manual page of one", load: () => import("./help.ts") },
  completions: { summary: "print completions for a shell", load: () => import("./completions.ts"), hidden: true },
  run: { summary: "run a job, with its output and exit code", load: () => import("./run.ts") },
  submit: { summary: "put a job into the queue", load: () => import("./submit.ts") },
  bulksubmit: { summary: "submit a job for each of many inputs", load: () => import("./bulksubmit.ts") },
  alloc: { summary: "allocate resources and start an instance on them", load: () => import("./alloc.ts") },
  batch: { summary: "submit a batch script", load: () => import("./batch.ts") },
  jobs: { summary: "list jobs", load: () => import("./jobs.ts") },
  cancel: { summary: "cancel pending and running jobs", load: () => import("./cancel.ts") },
  pgrep: { summary: "find jobs by name or id", load: () => import("./pgrep.ts") },
  pkill: { summary: "cancel jobs by name or id", load: () => import("./pkill.ts") },
  watch: { summary: "show the output of many jobs as it comes", load: () => import("./watch.ts") },
  update: { summary: "change attributes of jobs", load: () => import("./update.ts") },
  housekeeping: { summary: "list and signal programs that tidy up nodes between jobs", load: () => import("./housekeeping.ts") },
  jobtap: { summary: "list, load and remove plugins of the job manager", load: () => import("./jobtap.ts") },
  "perilog-run": { summary: "run the scripts of a prolog, an epilog or housekeeping", load: () => import("./perilog-run.ts") },
  top: { summary: "show an instance and its running jobs live", load: () => import("./top.ts") },
  pstree: { summary: "show jobs and the jobs in them as a tree", load: () => import("./pstree.ts") },
  proxy: { summary: "run a shell or a command in another instance", load: () => import("./proxy.ts") },
  uri: { summary: "print the URI of an instance that runs as a job", load: () => import("./uri.ts") },
  "multi-prog": { summary: "run another program in each task of a job", load: () => import("./multi-prog.ts") },
  queue: { summary: "list, enable, disable, start and stop queues", load: () => import("./queue.ts") },
  resource: { summary: "list, drain and inspect resources", load: () => import("./resource.ts") },
  uptime: { summary: "show how long the instance has been running, and its size", load: () => import("./uptime.ts") },
  "job-validator": { summary: "check jobs as the instance does before it takes them", load: () => import("./job-validator.ts"), hidden: true },
  "job-frobnicator": { summary: "change jobs as the instance does before it takes them", load: () => import("./job-frobnicator.ts"), hidden: true },
  job: { summary: "attach to, inspect, signal and wait for jobs", load: () => import("./job.ts") },
};
