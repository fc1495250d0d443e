// The resource journal (RFC 44): every event of the instance's resources, for `flux resource eventlog` and, those that must
// outlive the instance, in the KVS key resource.eventlog.
//
//   resource.journal   → stream of { events, R? }: history first, an empty list as its end, then events as they happen
//
// "restart", "online" and "offline" describe brokers of this life of the instance and are not stored.
import type { Request } from "../../client/request.ts";
import { type EventlogEntry, formatEventlogEntry, parseEventlog } from "../../formats/eventlog.ts";
import type { JsonObject } from "../../formats/json.ts";
import type { Clock } from "../../os/clock.ts";

export interface JournalOptions {
  readonly clock: Clock;
  /** Appends text to resource.eventlog; resolves when it is stored. */
  readonly append: (text: string) => Promise<void>;
  /** R as JSON, for whoever hears of resource-define. */
  readonly R: () => JsonObject | undefined;
  max: number;
}

export interface Posted {
  readonly entry: EventlogEntry;
  /** Resolves when the event is in the KVS. */
  readonly stored: Promise<void>;
}

export class Journal {
  readonly #options: JournalOptions;
  #events: EventlogEntry[] = [];
  readonly #readers = new Set<Request>();

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#events.length;
  }

  /** The stored events of earlier lives: all but resource-define, which says nothing about the R of this one. */
  load(text: string): EventlogEntry[] {
    const events = parseEventlog(text);
    this.#events = events.filter(({ name }) => name !== "resource-define");
    this.#truncate();
    return events;
  }

  setMax(max: number): void {
    this.#options.max = max;
    this.#truncate();
  }

  /** Adds an event and stores it. */
  post(name: string, context: JsonObject, timestamp?: number): Posted {
    const entry = this.note(name, context, timestamp);
    return { entry, stored: this.#options.append(formatEventlogEntry(entry)) };
  }

  /** Adds an event that is not stored, or that was stored by the caller. */
  note(name: string, context: JsonObject, timestamp: number = this.#options.clock.now_s()): EventlogEntry {
    const entry: EventlogEntry = { timestamp, name, context };
    this.#events.push(entry);
    this.#truncate();
    const payload = this.#payload(entry);
    for (const req of this.#readers) req.respond(payload);
    return entry;
  }

  /** Starts a reader: the history, then what comes. */
  open(req: Request): void {
    req.requireStreaming();
    let batch: EventlogEntry[] = [];
    const flush = (): void => {
      if (batch.length > 0) req.respond({ events: batch as object[] as JsonObject[] });
      batch = [];
    };
    for (const entry of this.#events) {
      if (entry.name === "resource-define") {
        flush();
        req.respond(this.#payload(entry));
      } else batch.push(entry);
    }
    flush();
    req.respond({ events: [] });
    this.#readers.add(req);
    req.onCancel(() => this.#readers.delete(req));
  }

  #payload(entry: EventlogEntry): JsonObject {
    const events = [entry as object as JsonObject];
    const R = entry.name === "resource-define" ? this.#options.R() : undefined;
    return R === undefined ? { events } : { events, R };
  }

  /** Drops the oldest, ten in a hundred at a time, so that a full journal costs nothing per event. */
  #truncate(): void {
    const { max } = this.#options;
    if (this.#events.length > max + max / 10) this.#events = this.#events.slice(-max);
  }
}
