// input: standard input of tasks. A client sends it to the leader (SERVICE.stdin, RFC 24 data), which records it in the job's input
// eventlog and gives it to the tasks it is for; or it comes from a file (input.stdin.{type "file", path}).
// input.limit SIZE (10M, at most 32M) bounds what the eventlog takes; input.batch-timeout FSD: collected so long before it is written.
import { closeSync, openSync } from "node:fs";
import { IdSet } from "../../formats/idset.ts";
import type { Json, JsonObject } from "../../formats/json.ts";
import { formatSize, parseSize } from "../../formats/size.ts";
import { decodeIo, type IoChunk, ioHeader, ioRedirect } from "../../formats/stdio.ts";
import { errno, FluxError, isErrno, strerror, toFluxError } from "../../message/errno.ts";
import { LOG } from "../log.ts";
import { batchTimeout_ms } from "../output-options.ts";
import { partsOf } from "../parts.ts";
import type { Plugin } from "../plugin.ts";
import { type Shell, ShellExit } from "../shell.ts";
import type { Task } from "../task.ts";
import { renderFor } from "../template.ts";
import type { Output } from "./output.ts";

export function inputPlugin(output: Output): Plugin {
  const fds: number[] = [];
  let path: string | undefined;
  return {
    name: "input",
    init(shell) {
      const input = partsOf(shell.option("input"), "input", "input.limit=1M");
      const limit_bytes = limitOf(input["limit"]);
      const batch_ms = batchTimeout_ms(input["batch-timeout"], "input", 0);
      const option = partsOf(input["stdin"], "input.stdin", "input.stdin.path=FILE");
      const type = option["type"] ?? (typeof option["path"] === "string" ? "file" : "service");
      if (type !== "service" && type !== "file") throw new ShellExit(1, `input.stdin.type=${JSON.stringify(type)} invalid`);
      if (type === "file") {
        if (typeof option["path"] !== "string") throw new ShellExit(1, "path for stdin file input not specified");
        path = option["path"];
      }
      if (shell.isLeader) {
        output.append("input", "header", ioHeader({ stdin: 1 }));
        if (path !== undefined) output.append("input", "redirect", ioRedirect("stdin", "all", renderFor(shell, path, {})));
      }
      if (path !== undefined) return;
      if (batch_ms > 0) output.setBatch("input", batch_ms);
      if (shell.isLeader) serveStdin(shell, output, limit_bytes);
      else shell.serve("input", async (request) => deliver(shell, decodeIo(request.payload)));
    },
    taskInit(shell, task) {
      if (path === undefined) return;
      const fd = openInput(renderFor(shell, path, { shellRank: shell.job.shellRank, task }), shell.spawn.cwd ?? "/");
      fds.push(fd);
      task.stdin = fd;
    },
    taskStarted() {
      for (const fd of fds.splice(0)) closeSync(fd);
    },
    exit() {
      for (const fd of fds.splice(0)) closeSync(fd);
    },
  };
}

function openInput(path: string, cwd: string): number {
  try {
    return openSync(path.startsWith("/") ? path : `${cwd}/${path}`, "r");
  } catch (err) {
    throw new ShellExit(1, `error opening input file '${path}': ${strerror(toFluxError(err).errno)}`);
  }
}

const LIMIT_MAX_BYTES = 32 << 20;
const LIMIT_BYTES = 10 << 20;

function limitOf(value: Json | undefined): number {
  if (value === undefined) return LIMIT_BYTES;
  const bytes = typeof value === "number" ? value : typeof value === "string" ? parseSize(value) : undefined;
  if (bytes === undefined || bytes <= 0 || bytes > LIMIT_MAX_BYTES) throw new ShellExit(1, `Invalid KVS input.limit=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return bytes;
}

/** EPIPE when no task, or not every task that is named, can take input any more. */
function serveStdin(shell: Shell, output: Output, limit_bytes: number): void {
  let seen_bytes = 0;
  const open = shell.job.ntasks > 0 ? IdSet.range(0, shell.job.ntasks - 1) : new IdSet();
  shell.serve("stdin", async (request) => {
    const chunk = decodeIo(request.payload);
    if (open.isEmpty) throw new FluxError(errno.EPIPE);
    const ranks = chunk.rank === "all" ? undefined : IdSet.parse(chunk.rank);
    if (ranks !== undefined && !open.contains(ranks)) throw new FluxError(errno.EPIPE);
    seen_bytes += chunk.data?.length ?? 0;
    if (seen_bytes > limit_bytes) {
      const what = `stdin exceeds ${formatSize(limit_bytes)} limit. Try file input (flux submit --input=FILE) or redirect input to your command`;
      shell.fatal(1, `${what} to avoid the KVS for large amounts of input`);
      throw new FluxError(errno.ECANCELED);
    }
    output.append("input", "data", request.payload);
    if (chunk.eof) for (const rank of ranks ?? open.clone()) open.remove(rank);
    await Promise.all([deliver(shell, chunk), forward(shell, request.payload, ranks)]);
  });
}

/** To the other shells that have tasks it is for. */
async function forward(shell: Shell, payload: JsonObject, ranks: IdSet | undefined): Promise<void> {
  const { nodes } = shell.job;
  if (nodes.length === 1) return;
  const targets = nodes.map((_, i) => i).filter((i) => i !== 0 && (ranks === undefined || shell.taskmap.taskids(i).intersects(ranks)));
  await Promise.all(targets.map(async (i) => shell.call(i, "input", payload).catch((err: unknown) => ignoreEnded(shell, err))));
}

function ignoreEnded(shell: Shell, err: unknown): void {
  // A shell whose tasks have ended takes no more input.
  if (!isErrno(err, errno.ENOSYS)) shell.log(LOG.debug, `input: ${toFluxError(err).message}`, "input");
}

/** To our tasks; resolves when they have taken it. */
async function deliver(shell: Shell, chunk: IoChunk): Promise<void> {
  const ranks = chunk.rank === "all" ? undefined : IdSet.parse(chunk.rank);
  await Promise.all(shell.tasks.filter((task) => ranks === undefined || ranks.has(task.rank)).map(async (task) => feed(shell, task, chunk)));
}

async function feed(shell: Shell, task: Task, chunk: IoChunk): Promise<void> {
  const stdin = task.child?.stdin;
  if (stdin === undefined) return;
  try {
    if (chunk.data !== undefined && chunk.data.length > 0 && !stdin.write(chunk.data)) await stdin.drained();
    if (chunk.eof) stdin.end();
  } catch (err) {
    if (isErrno(err, errno.EPIPE)) return; // the task has closed it, or is gone
    shell.log(LOG.warning, `task ${task.rank}: buffer full, closing stdin`, "input");
    stdin.end();
  }
}
