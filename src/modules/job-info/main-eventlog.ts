// The main eventlog of one job (RFC 21), watched once for all who want to know: those who asked for it, and those who wait
// for the job to start, to end, or to change.
import type { Flux } from "../../client/flux.ts";
import { KVS } from "../../client/kvs.ts";
import type { Stream } from "../../client/stream.ts";
import { type EventlogEntry, parseEventlogEntry } from "../../formats/eventlog.ts";
import { type JobId, jobKvsPath } from "../../formats/fluid.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { Lines, textOf } from "./kvs-stream.ts";

export interface EventlogReader {
  /** One line, with its newline. */
  line(line: string): void;
  /** All that was there at the beginning has been read. */
  initial?(): void;
  /** No more: undefined when the job is clean. */
  end(error: FluxError | undefined): void;
}

export class MainEventlog {
  readonly id: JobId;
  readonly #stream: Stream;
  readonly #lines: string[] = [];
  readonly #readers = new Set<EventlogReader>();
  readonly #unused: () => void;
  /** User of the job, once its first event is known. */
  userid: number | undefined;
  /** The shells have begun: the guest namespace is there. */
  started = false;
  /** The guest namespace has been copied into the primary one. */
  released = false;
  #initialDone = false;
  #ended = false;
  #error: FluxError | undefined;

  /** `unused` is called when nobody reads any more, and when the log has ended. */
  constructor(h: Flux, id: JobId, waitcreate: boolean, unused: () => void) {
    this.id = id;
    this.#unused = unused;
    const flags = KVS.WATCH | KVS.WATCH_APPEND | KVS.WATCH_INITIAL_SENTINEL | (waitcreate ? KVS.WAITCREATE : 0);
    const key = jobKvsPath(id, "eventlog");
    this.#stream = h.stream("kvs-watch.lookup", { key, namespace: "primary", flags }, { cancelTopic: "kvs-watch.lookup-cancel" });
    this.#follow().catch((err: unknown) => this.#end(toFluxError(err)));
  }

  /** Adds a reader, who gets the whole log; returns how to remove it. */
  read(reader: EventlogReader): () => void {
    for (const line of this.#lines) reader.line(line);
    if (this.#initialDone || this.#ended) reader.initial?.();
    if (this.#ended) {
      reader.end(this.#error);
      return () => undefined;
    }
    this.#readers.add(reader);
    return () => {
      this.#readers.delete(reader);
      if (this.#readers.size === 0) this.#close();
    };
  }

  async #follow(): Promise<void> {
    const lines = new Lines();
    for await (const response of this.#stream) {
      const text = textOf(response);
      if (text === undefined) {
        this.#initialDone = true;
        for (const reader of [...this.#readers]) reader.initial?.();
        continue;
      }
      if (text === "") throw new FluxError(errno.EINVAL, "illegal append of zero bytes");
      for (const line of lines.push(text)) if (this.#take(line)) return this.#end(undefined);
    }
    this.#end(new FluxError(errno.ENODATA));
  }

  /** True when this was the last event. */
  #take(line: string): boolean {
    const name = this.#note(line);
    this.#lines.push(line);
    for (const reader of [...this.#readers]) reader.line(line);
    return name === "clean";
  }

  #note(line: string): string {
    const entry = parseEventlogEntry(line);
    const { name, context } = entry;
    if (this.#lines.length === 0) this.userid = submitterOf(entry);
    if (name === "start") this.started = true;
    else if (name === "release" && context?.["final"] === true) this.released = true;
    return name;
  }

  #end(error: FluxError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    for (const reader of [...this.#readers]) {
      if (!this.#initialDone) reader.initial?.();
      reader.end(error);
    }
    this.#readers.clear();
    this.#close();
  }

  #close(): void {
    this.#unused();
    this.#stream.return().catch(() => undefined); // it was ours to end
  }
}

/** User of the first event, which must be "submit". Throws FluxError EINVAL. */
export function submitterOf({ name, context }: EventlogEntry): number {
  const userid = context?.["userid"];
  if (name !== "submit" || typeof userid !== "number") throw new FluxError(errno.EINVAL, "error parsing eventlog");
  return userid;
}
