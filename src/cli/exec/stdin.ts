// Our stdin for many remote processes: read only when all of them have started, and no faster than the slowest takes it.
import { printError } from "../output.ts";
import type { RemoteProcess } from "./remote.ts";

export interface StdinFeed {
  /** One more process has started. */
  started(): void;
  /** Credit has come, or a process has ended. */
  changed(): void;
  /** Nobody reads any more. */
  stop(): Promise<void>;
}

/** With `isEmpty`, each process gets the end at once. */
export function feedStdin(processes: readonly RemoteProcess[], count: number, isEmpty: boolean): StdinFeed {
  let startedCount = 0;
  const state = { isStopped: false };
  let wake = Promise.withResolvers<void>();
  let reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>; cancel(): Promise<void> } | undefined;
  const running = (): RemoteProcess[] => processes.filter((p) => p.isRunning);
  const credit_bytes = (): number => Math.min(...running().map((p) => p.credit_bytes));
  const change = (): void => {
    wake.resolve();
    wake = Promise.withResolvers<void>();
  };
  const send = async (data: Uint8Array): Promise<void> => {
    let rest = data;
    while (rest.length > 0 && !state.isStopped && running().length > 0) {
      const size = Math.min(rest.length, credit_bytes());
      if (size > 0) {
        const part = rest.subarray(0, size);
        for (const remote of running()) remote.write(part);
        rest = rest.subarray(size);
      } else {
        await wake.promise;
      }
    }
  };
  const pump = async (): Promise<void> => {
    reader = Bun.stdin.stream().getReader();
    while (!state.isStopped && running().length > 0) {
      const { done, value } = await reader.read();
      if (done || value === undefined) break;
      await send(value);
    }
    if (!state.isStopped) for (const remote of running()) remote.write(undefined);
  };
  return {
    started() {
      if (++startedCount < count || state.isStopped) return;
      if (isEmpty) for (const remote of running()) remote.write(undefined);
      else pump().catch((err: Error) => printError(`flux-exec: stdin: ${err.message}`));
    },
    changed: change,
    async stop() {
      state.isStopped = true;
      change();
      await reader?.cancel();
    },
  };
}
