// taskmap: which tasks run on which node. Option {scheme, value}: block (default), cyclic[:N], manual:TASKMAP, hostfile:PATH,
// and those of an initrc (taskmap.SCHEME).
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { FormatError } from "../../formats/error.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { isJsonObject } from "../../formats/json.ts";
import { Taskmap } from "../../formats/taskmap.ts";
import { strerror, toFluxError } from "../../message/errno.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";

export function taskmapPlugin(): Plugin {
  return {
    name: "taskmap",
    init(shell) {
      const option = shell.option("taskmap");
      if (option === undefined) return;
      if (!isJsonObject(option) || typeof option["scheme"] !== "string") throw new ShellExit(1, "failed to parse taskmap shell option");
      const value = typeof option["value"] === "string" ? option["value"] : "";
      shell.taskmap = checked(shell, mapTasks(shell, option["scheme"], value), option["scheme"]);
    },
  };
}

function mapTasks(shell: Shell, scheme: string, value: string): Taskmap {
  const { job } = shell;
  const ppn = job.nodes.map((_, node) => job.taskmap.ntasksOf(node));
  switch (scheme) {
    case "block":
      if (value !== "") throw new ShellExit(1, `block taskmap does not accept a value (got ${value})`);
      return job.taskmap;
    case "cyclic":
      return Taskmap.cyclic(ppn, value === "" ? 1 : stride(value));
    case "manual":
      return parseMap(scheme, value);
    case "hostfile":
      return fromHostfile(shell, value);
    default:
      return fromInitrc(shell, scheme, value);
  }
}

function fromInitrc(shell: Shell, scheme: string, value: string): Taskmap {
  const map = shell.extensions?.taskmap(scheme, value);
  if (map === undefined) throw new ShellExit(1, `failed to map tasks with scheme=${scheme}`);
  return parseMap(scheme, map);
}

function parseMap(scheme: string, map: string): Taskmap {
  try {
    return Taskmap.parse(map);
  } catch (err) {
    throw new ShellExit(1, `taskmap.${scheme}: ${map}: ${toFluxError(err).message}`);
  }
}

function stride(value: string): number {
  const n = Number(value);
  if (!Number.isInteger(n) || n <= 0) throw new ShellExit(1, `invalid cyclic value: ${value}`);
  return n;
}

/** Task i runs on the ith host of the file, whose lines are hostlists; the list is repeated while there are tasks. A relative path is of the job's directory. */
function fromHostfile(shell: Shell, path: string): Taskmap {
  let text: string;
  try {
    text = readFileSync(resolve(shell.spawn.cwd ?? "/", path), "utf8");
  } catch (err) {
    throw new ShellExit(1, `failed to open hostfile: ${path}: ${strerror(toFluxError(err).errno)}`);
  }
  const hosts = text.split("\n").flatMap((line, i) => (line.trim() === "" ? [] : hostsOf(line.trim(), `${path}: line ${i + 1}`)));
  const nodeOf = new Map(shell.job.nodes.map((node, i) => [node.host, i]));
  const nodeids = Array.from({ length: shell.job.ntasks }, (_, task) => {
    const host = hosts[task % Math.max(1, hosts.length)] ?? "";
    const node = nodeOf.get(host);
    if (node === undefined) throw new ShellExit(1, `failed to map tasks with hostfile:${path}: host ${host} not found in R`);
    return node;
  });
  return Taskmap.fromNodeids(nodeids);
}

function hostsOf(line: string, where: string): string[] {
  try {
    return Hostlist.parse(line).toArray();
  } catch (err) {
    if (!(err instanceof FormatError)) throw err;
    throw new ShellExit(1, `taskmap.hostfile: ${where}: ${err.message}`);
  }
}

/** A map must have the job's tasks and nodes. */
function checked(shell: Shell, map: Taskmap, scheme: string): Taskmap {
  const { job } = shell;
  if (map.ntasks !== job.ntasks) throw new ShellExit(1, `taskmap.${scheme}: got ${map.ntasks} total tasks, expected ${job.ntasks}`);
  if (map.nnodes > job.nodes.length) throw new ShellExit(1, `taskmap.${scheme}: got ${map.nnodes} nodes, expected ${job.nodes.length}`);
  return map;
}
