// FLUX_URI of a process of this host: the scheme pid: of `flux uri`.
import { readFileSync } from "node:fs";
import { childrenOf } from "../os/process-tree.ts";
import { UsageError } from "./command.ts";

/** FLUX_URI of a process; of a broker, that of its first child that has one which isn't the broker's own. Throws UsageError. */
export function uriOfProcess(word: string): string {
  if (!/^\d+$/.test(word)) throw new UsageError(`PID ${word} is not a process id`);
  const pid = Number(word);
  const own = variableOf(pid, "FLUX_URI");
  if (isBroker(pid)) {
    for (const child of childrenOf(pid)) {
      const uri = variableOf(child.pid, "FLUX_URI");
      if (uri !== undefined && uri !== own) return uri;
    }
    throw new UsageError(`PID ${word} is a flux-broker and no child found`);
  }
  if (own === undefined) throw new UsageError(`PID ${word} doesn't seem to have a FLUX_URI`);
  return own;
}

/** Throws UsageError when there is no such process. */
export function isBroker(pid: number): boolean {
  return readProcFile(pid, "comm").startsWith("flux-broker");
}

/** A variable of a process's environment. Throws UsageError when we can't see it. */
export function variableOf(pid: number, name: string): string | undefined {
  const entry = readProcFile(pid, "environ").split("\0").find((line) => line.startsWith(`${name}=`));
  return entry?.slice(name.length + 1);
}

function readProcFile(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch (err) {
    const { code } = err as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM") throw new UsageError(`Permission denied: '/proc/${pid}/${file}'`);
    throw new UsageError(`PID ${pid} not found`);
  }
}
