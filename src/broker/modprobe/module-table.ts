// The modules that come with the broker, as modprobe knows them: what each needs and provides. Names and services are those
// of stock Flux, so that tables and rc files of sites fit.
import type { ModuleEntry } from "./task.ts";

export const MODULE_TABLE: readonly ModuleEntry[] = [
  { name: "heartbeat" },
  { name: "cron", ranks: "0", requires: ["heartbeat"], args: ["sync=heartbeat.pulse"] },
  { name: "content", requires: ["heartbeat", "content-backing"] },
  // Of two that provide the same, the later is taken unless the site says otherwise.
  { name: "content-files", ranks: "0", after: ["content"], provides: ["content-backing"] },
  { name: "content-sqlite", ranks: "0", after: ["content"], provides: ["content-backing"] },
  { name: "kvs", after: ["content-backing", "content"], requires: ["content", "heartbeat"] },
  { name: "kvs-watch", after: ["kvs"], requires: ["kvs"] },
  { name: "resource", after: ["kvs-watch"], requires: ["kvs-watch"] },
  { name: "job-info", after: ["kvs-watch"], requires: ["kvs-watch", "kvs"] },
  { name: "job-manager", ranks: "0", after: ["resource", "kvs"], requires: ["resource", "kvs"] },
  { name: "job-list", ranks: "0", after: ["job-manager"], requires: ["job-manager"] },
  { name: "job-archive", ranks: "0", after: ["job-manager", "job-list", "kvs"], requires: ["job-manager", "job-list", "kvs"], "needs-config": ["archive"] },
  // On all ranks: each starts the shells of its own node.
  { name: "job-exec", after: ["job-manager", "kvs"], requires: ["kvs", "job-manager"] },
  { name: "sched-simple", ranks: "0", provides: ["sched", "feasibility"], after: ["job-manager", "resource"], requires: ["job-manager", "resource"], priority: 50 },
  { name: "job-ingest", after: ["job-manager"], requires: ["kvs", "job-manager"] },
];
