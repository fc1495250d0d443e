// GuestLog: what a leader shell appends to the job's "output" and "input" eventlogs (RFC 24) in its KVS namespace.
//
// Lines are joined and committed when some time has passed or much has come together; one commit is under way at a time. Whoever
// produces lines is told to pause while too much waits.
//
// What readers need before anything else (the headers) travels with the shell's first report: nothing is committed here before job-exec
// has said that it is in the KVS (open()), so that the order holds. What is left at the end is handed over to travel with the shell's last report,
// so that a short job makes no commit of its own.
import type { Flux } from "../client/flux.ts";
import { append } from "../client/kvs.ts";
import { errno, FluxError, toFluxError } from "../message/errno.ts";
import type { Clock, Timer } from "../os/clock.ts";
import type { GuestKey } from "./protocol.ts";

/** This much is committed without waiting for the timer, and is the size of one commit at most (about). */
const COMMIT_CHARS = 1 << 20;
const EAGER_CHARS = 256 << 10;
/** Above this producers pause; they go on below half of it. */
const PRESSURE_CHARS = 4 << 20;
/** Left over for the last report at most. */
const TAIL_CHARS = 256 << 10;

export interface GuestLogOptions {
  readonly h: Flux;
  readonly clock: Clock;
  readonly namespace: string;
  readonly batch_ms: number;
  /** Too much waits (true), or no longer (false). */
  readonly onPressure: (paused: boolean) => void;
  /** The KVS refused. Nothing more is committed. */
  readonly onError: (error: FluxError) => void;
}

export interface GuestLog {
  /** From now on commits may be made. */
  open(): void;
  /** Takes out what waits, to send it another way. */
  take(): Partial<Record<GuestKey, string>>;
  append(key: GuestKey, line: string): void;
  /** What is appended to that key is committed so long afterwards at the latest. Default: the options' batch_ms. */
  setBatch(key: GuestKey, batch_ms: number): void;
  /** Commit soon, without waiting for the timer. */
  flush(): void;
  /** Resolves when all but a short rest is committed; the rest is returned by key. */
  close(): Promise<Partial<Record<GuestKey, string>>>;
  /** Resolves when less than the limit waits. */
  room(): Promise<void>;
}

export function openGuestLog(options: GuestLogOptions): GuestLog {
  const { h, clock } = options;
  const pending = new Map<GuestKey, string[]>();
  let waiting_chars = 0;
  const batches = new Map<GuestKey, number>();
  let timer: Timer | undefined;
  let due_ms = 0;
  let committing: Promise<void> | undefined;
  let paused = false;
  let broken = false;
  const opened = Promise.withResolvers<void>();
  let isOpen = false;
  const roomWaiters: (() => void)[] = [];

  const relieve = (): void => {
    if (waiting_chars > PRESSURE_CHARS / 2) return;
    if (paused) options.onPressure(false);
    paused = false;
    for (const wake of roomWaiters.splice(0)) wake();
  };

  const takeSome = (): Map<GuestKey, string> => {
    const taken = new Map<GuestKey, string>();
    let chars = 0;
    for (const [key, lines] of pending) {
      let count = 0;
      while (count < lines.length && (chars < COMMIT_CHARS || count === 0)) chars += lines[count++]?.length ?? 0;
      taken.set(key, lines.splice(0, count).join(""));
      if (lines.length === 0) pending.delete(key);
    }
    waiting_chars -= chars;
    return taken;
  };

  const commit = (): void => {
    clock.clear(timer);
    timer = undefined;
    if (!isOpen || committing !== undefined || pending.size === 0) return;
    const ops = [...takeSome()].map(([key, text]) => append(key, text));
    committing = (broken ? Promise.resolve({}) : h.rpc("kvs.commit", { namespace: options.namespace, flags: 0, ops }))
      .catch((err: unknown) => {
        if (!broken) options.onError(toFluxError(err, errno.EIO));
        broken = true;
      })
      .then(() => {
        committing = undefined;
        relieve();
        if (waiting_chars >= EAGER_CHARS) commit();
        else if (pending.size > 0) arm();
      });
  };

  /** Commits in time for what waits. */
  const arm = (): void => {
    if (timer !== undefined && batches.size === 0) return;
    const wait_ms = Math.min(...Array.from(pending.keys(), (key) => batches.get(key) ?? options.batch_ms));
    const at_ms = clock.monotonic_ms() + wait_ms;
    if (timer !== undefined && due_ms <= at_ms) return;
    clock.clear(timer);
    due_ms = at_ms;
    timer = clock.setTimer(wait_ms, commit);
  };

  return {
    open() {
      isOpen = true;
      opened.resolve();
      if (waiting_chars >= EAGER_CHARS) commit();
      else if (pending.size > 0) arm();
    },
    take() {
      const taken = Object.fromEntries([...pending].map(([key, lines]) => [key, lines.join("")]));
      pending.clear();
      waiting_chars = 0;
      relieve();
      return taken;
    },
    append(key, line) {
      const lines = pending.get(key);
      if (lines === undefined) pending.set(key, [line]);
      else lines.push(line);
      waiting_chars += line.length;
      if (waiting_chars >= EAGER_CHARS) commit();
      else if (isOpen) arm();
      if (!paused && waiting_chars > PRESSURE_CHARS) {
        paused = true;
        options.onPressure(true);
      }
    },
    setBatch: (key, batch_ms) => void batches.set(key, batch_ms),
    flush: commit,
    async close() {
      for (;;) {
        if (committing !== undefined) await committing;
        else if (waiting_chars <= TAIL_CHARS) break;
        else if (isOpen) commit();
        else await opened.promise;
      }
      clock.clear(timer);
      timer = undefined;
      return Object.fromEntries([...pending].map(([key, lines]) => [key, lines.join("")]));
    },
    async room() {
      if (waiting_chars <= PRESSURE_CHARS) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      roomWaiters.push(resolve);
      await promise;
    },
  };
}
