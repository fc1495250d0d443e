// Journal: job-manager.events-journal, a stream of all events of all jobs for other services.
//
// Request {full?, except?: [id], allow?: {NAME: 1}, deny?: {NAME: 1}}. Responses {id, events: [], jobspec?, R?}: first every job so far
// (inactive ones only when full), then {id: -1, events: []}, then events as they happen, those of a job in one turn
// together. jobspec comes with the submit event, R with alloc.
//
// A listener that has kept jobs that are over says which in `except`.
//
// Jobs that are over are read back from the KVS, so a full backlog takes a while; what happens meanwhile waits.
import type { Request } from "../../client/request.ts";
import { type EventlogEntry, parseEventlog } from "../../formats/eventlog.ts";
import type { JobId } from "../../formats/fluid.ts";
import { isJsonObject, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { bool, def, opt } from "../../message/unpack.ts";
import { type Job, jobspecOf } from "./job.ts";
import { nextTurn } from "./turn.ts";

export interface JournalRecord {
  readonly id: JobId;
  readonly events: EventlogEntry[];
  jobspec?: JsonObject;
  R?: JsonObject;
}

interface Listener {
  readonly request: Request;
  readonly wants: ((name: string) => boolean) | undefined;
  /** Records that wait for the backlog to be sent; undefined when it has been. */
  waiting: JournalRecord[] | undefined;
}

/** Records that may wait for one listener's backlog. */
const WAITING_MAX = 500_000;

export interface JournalOptions {
  readonly activeJobs: () => Iterable<Job>;
  readonly inactiveIds: () => JobId[];
  /** Resolves when all that was posted so far can be read. */
  readonly stored: () => Promise<void>;
  /** Reads a job that is over; undefined when it has been purged. */
  readonly readInactive: (id: JobId) => Promise<JournalRecord | undefined>;
}

/** Lookups of inactive jobs that are under way at once. */
const WINDOW = 64;
/** Jobs passed over in one turn of the event loop. */
const SLICE = 5000;

/** There may be very many ids: what isn't one never matches. */
const array = (value: unknown, path: string): readonly unknown[] => {
  if (Array.isArray(value)) return value as readonly unknown[];
  throw new FluxError(errno.EPROTO, `${path} must be an array`);
};

/** A set of names of events. */
const names = (name: string) => (value: unknown): JsonObject => {
  if (isJsonObject(value)) return value;
  throw new FluxError(errno.EPROTO, `${name} should be an object`);
};

export class Journal {
  readonly #options: JournalOptions;
  readonly #listeners = new Set<Listener>();
  #turn = new Map<JobId, JournalRecord>();
  events = 0;

  constructor(options: JournalOptions) {
    this.#options = options;
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  /** One event; it is sent at the end of the turn. */
  add(job: Job, entry: EventlogEntry): void {
    this.events++;
    if (this.#listeners.size === 0) return;
    let record = this.#turn.get(job.id);
    if (record === undefined) this.#turn.set(job.id, (record = { id: job.id, events: [] }));
    record.events.push(entry);
    if (entry.name === "submit") record.jobspec = jobspecOf(job);
    else if (entry.name === "alloc" && job.facts.R !== undefined) record.R = job.facts.R;
  }

  /** The turn ends: sends what happened in it. */
  flush(): void {
    if (this.#turn.size === 0) return;
    const records = this.#turn;
    this.#turn = new Map();
    for (const listener of this.#listeners) {
      for (const record of records.values()) this.#send(listener, record);
    }
  }

  /** Takes a request; the caller returns DEFERRED. Throws FluxError EPROTO. */
  listen(request: Request): void {
    const { allow, deny, full, except } = request.unpack({ allow: opt(names("allow")), deny: opt(names("deny")), full: def(bool, false), except: def(array, []) });
    if (!request.isStreaming) throw new FluxError(errno.EPROTO, "job-manager.events requires streaming RPC flag");
    this.flush();
    const listener: Listener = { request, wants: filter(allow, deny), waiting: [] };
    const active = Array.from(this.#options.activeJobs(), recordOf);
    this.#listeners.add(listener);
    request.onCancel(() => void this.#listeners.delete(listener));
    if (!full) return this.#backlog(listener, active);
    this.#sendInactive(listener, this.#options.inactiveIds(), new Set(except)).then(
      () => this.#backlog(listener, active),
      (err: unknown) => {
        this.#listeners.delete(listener);
        request.fail(err);
      },
    );
  }

  /** The module ends: so do all streams. */
  end(): void {
    this.flush();
    for (const { request } of this.#listeners) request.finish();
    this.#listeners.clear();
  }

  async #sendInactive(listener: Listener, ids: readonly JobId[], kept: ReadonlySet<unknown>): Promise<void> {
    // The last events of a job that has just ended may still be on their way to the KVS.
    await this.#options.stored();
    let window: JobId[] = [];
    const send = async (): Promise<void> => {
      const records = await Promise.all(window.map((id) => this.#options.readInactive(id)));
      window = [];
      for (const record of records) if (record !== undefined) respond(listener, record);
    };
    let passed = 0;
    for (const id of ids) {
      if (!listener.request.isOpen) return;
      if (kept.has(id)) {
        if (++passed % SLICE === 0) await nextTurn();
      } else if (window.push(id) === WINDOW) await send();
    }
    await send();
  }

  #backlog(listener: Listener, active: readonly JournalRecord[]): void {
    for (const record of active) respond(listener, record);
    listener.request.respond({ id: -1, events: [] });
    const waiting = listener.waiting ?? [];
    listener.waiting = undefined;
    for (const record of waiting) this.#send(listener, record);
  }

  #send(listener: Listener, record: JournalRecord): void {
    if (listener.waiting === undefined) return sendLive(listener, record);
    if (listener.waiting.length < WAITING_MAX) return void listener.waiting.push(record);
    this.#listeners.delete(listener);
    listener.request.fail(new FluxError(errno.ENOBUFS, `over ${WAITING_MAX} events wait for a journal's backlog`));
  }
}

function recordOf(job: Job): JournalRecord {
  const { R } = job.facts;
  return { id: job.id, events: parseEventlog(job.eventlog), jobspec: jobspecOf(job), ...(R === undefined ? {} : { R }) };
}

function respond(listener: Listener, record: JournalRecord): void {
  const { wants } = listener;
  const events = wants === undefined ? record.events : record.events.filter((event) => wants(event.name));
  listener.request.respond({ ...record, events } as object as JsonObject);
}

/** Without a filter all listeners share one payload. With one, jobspec and R come only with their events. */
function sendLive(listener: Listener, record: JournalRecord): void {
  const { wants } = listener;
  if (wants === undefined) return listener.request.respond(record as object as JsonObject);
  const events = record.events.filter((event) => wants(event.name));
  if (events.length === 0) return;
  const payload: JournalRecord = { id: record.id, events };
  if (record.jobspec !== undefined && wants("submit")) payload.jobspec = record.jobspec;
  if (record.R !== undefined && wants("alloc")) payload.R = record.R;
  listener.request.respond(payload as object as JsonObject);
}

function filter(allow: JsonObject | undefined, deny: JsonObject | undefined): ((name: string) => boolean) | undefined {
  if (allow === undefined && deny === undefined) return undefined;
  return (name) => (allow === undefined || Object.hasOwn(allow, name)) && (deny === undefined || !Object.hasOwn(deny, name));
}
