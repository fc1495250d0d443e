// Standard input on its way to a job: the leader shell's service SERVICE.stdin takes {stream, rank, data, eof} (RFC 24).
import type { Flux } from "../client/flux.ts";
import { encodeIo } from "../formats/stdio.ts";
import { errno, FluxError, isErrno } from "../message/errno.ts";

/** Chunks sent and not answered yet: a job that doesn't read stops us from reading. */
const OUTSTANDING_MAX = 8;
const CHUNK_BYTES = 1 << 17;

export interface StdinTarget {
  /** Service of the leader shell, from the shell.init event. */
  readonly service: string;
  readonly leaderRank: number;
  /** Task ranks, or "all". */
  readonly ranks: string;
}

export interface StdinForwarder {
  stop(): void;
  /** Resolves when stdin has ended, was stopped, or the job takes no more; rejects when the job never took any of it. */
  readonly done: Promise<void>;
}

/** Sends the end of input to some ranks. A job that takes no input (any more) is no error. */
export async function closeStdin(h: Flux, target: StdinTarget): Promise<void> {
  try {
    await send(h, target, undefined);
  } catch (err) {
    if (!isErrno(err, errno.ENOSYS)) throw err;
  }
}

async function send(h: Flux, { service, leaderRank, ranks }: StdinTarget, data: Uint8Array | undefined): Promise<void> {
  const payload = encodeIo(data === undefined ? { stream: "stdin", rank: ranks, eof: true } : { stream: "stdin", rank: ranks, data });
  await h.rpc(`${service}.stdin`, payload, { nodeid: leaderRank });
}

type StdinReader = ReturnType<typeof openStdin>;

function openStdin() {
  return Bun.stdin.stream().getReader();
}

/** Reads our stdin to its end and sends it. */
export function forwardStdin(h: Flux, target: StdinTarget): StdinForwarder {
  const reader = openStdin();
  let stopped = false;
  const stop = (): void => {
    if (stopped) return;
    stopped = true;
    reader.cancel().catch(() => {
      // It ended by itself in the meantime.
    });
  };
  const done = copy(h, target, reader, () => stopped).finally(stop);
  return { stop, done };
}

async function copy(h: Flux, target: StdinTarget, reader: StdinReader, stopped: () => boolean): Promise<void> {
  const outstanding = new Set<Promise<void>>();
  let accepted = 0;
  let refusal: unknown;
  const put = async (data: Uint8Array | undefined): Promise<void> => {
    const sent = send(h, target, data).then(
      () => void accepted++,
      (err: unknown) => void (refusal ??= err),
    );
    outstanding.add(sent);
    void sent.then(() => outstanding.delete(sent));
    if (outstanding.size >= OUTSTANDING_MAX) await Promise.race(outstanding);
  };
  for (let dataSent = false; !stopped(); ) {
    const { done, value } = await reader.read();
    if (stopped()) return;
    if (done) await put(undefined);
    else for (let at = 0; at < value.length; at += CHUNK_BYTES) await put(value.subarray(at, at + CHUNK_BYTES));
    dataSent ||= !done;
    if (done) await Promise.all(outstanding);
    if (refusal !== undefined) return judge(refusal, dataSent, accepted);
    if (done) return;
  }
}

/** The job has no stdin (any more). That is an error only for data of which it took nothing. */
function judge(refusal: unknown, dataSent: boolean, accepted: number): void {
  if (isErrno(refusal, errno.ECANCELED) || isErrno(refusal, errno.ECONNRESET)) return;
  if (!isErrno(refusal, errno.ENOSYS) && !isErrno(refusal, errno.EHOSTUNREACH)) throw refusal;
  if (dataSent && accepted === 0) throw new FluxError(errno.ENOSYS, "stdin not accepted by job");
}
