// A tiny launcher for tests: starts `size` processes of a program with a PMI server each can reach as descriptor 3.

import { FluxError } from "../../src/message/errno.ts";
import { spawnProcess } from "../../src/os/spawn.ts";
import { pmiEndpoint, pmiEnvironment } from "../../src/pmi/serve-fd.ts";
import { createPmiServer, type PmiServer, type PmiServerOptions } from "../../src/pmi/server.ts";

export interface LaunchResult {
  statuses: number[];
  stdout: string;
  stderr: string;
  errors: FluxError[];
  aborts: Array<[number, number, string]>;
}

/** Serve and run ranks; an abort kills all. `servers` > 1 splits the ranks in blocks between servers that exchange their pairs. */
export async function launch(argv: string[], size: number, servers = 1, options: Partial<PmiServerOptions> = {}): Promise<LaunchResult> {
  const result: LaunchResult = { statuses: [], stdout: "", stderr: "", errors: [], aborts: [] };
  const kills: Array<() => void> = [];
  const exchange = servers > 1 ? meeting(servers) : undefined;
  const pool: PmiServer[] = Array.from({ length: servers }, () =>
    createPmiServer({
      size,
      kvsname: "test",
      localProcs: size / servers,
      preset: [["PMI_process_mapping", `(vector,(0,1,${size}))`]],
      ...(exchange !== undefined && { exchange }),
      onError: (_, error) => result.errors.push(error),
      onAbort(rank, exitCode, message) {
        result.aborts.push([rank, exitCode, message]);
        for (const kill of kills) kill();
      },
      ...options,
    }),
  );
  const running = Array.from({ length: size }, async (_, rank) => {
    const server = pool[Math.floor((rank * servers) / size)];
    if (server === undefined) throw new Error("no server for a rank");
    const endpoint = pmiEndpoint(server, rank);
    const child = spawnProcess({
      argv,
      env: { ...process.env, ...pmiEnvironment(3, rank, size) },
      stdout: "pipe",
      stderr: "pipe",
      extraFds: [endpoint.handlers],
      onStdout: (chunk) => (result.stdout += Buffer.from(chunk).toString()),
      onStderr: (chunk) => (result.stderr += Buffer.from(chunk).toString()),
    });
    endpoint.connect(child.extra[0]);
    kills.push(() => child.kill(9));
    const { status } = await child.exited;
    result.statuses[rank] = status;
    await child.extra[0]?.closed;
  });
  await Promise.all(running);
  return result;
}

/** An exchange in which each of `count` servers gives its pairs and gets those of all. */
function meeting(count: number): (pairs: Map<string, string>) => Promise<Map<string, string>> {
  let here = 0;
  let all = new Map<string, string>();
  let done = Promise.withResolvers<Map<string, string>>();
  return async (pairs) => {
    for (const [key, value] of pairs) all.set(key, value);
    const { promise, resolve } = done;
    if (++here === count) {
      resolve(all);
      here = 0;
      all = new Map();
      done = Promise.withResolvers();
    }
    return promise;
  };
}
