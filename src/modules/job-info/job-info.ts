// job-info: what is known of a job, for its user and the instance owner (RFC 16, 18, 21).
//
//   job-info.lookup { id, keys, flags }          → { id, KEY: text, … }; flags 1: R and jobspec as objects, 2: with updates applied
//   job-info.eventlog-watch { id, path, flags }  → stream of { event: line }; flags 1: wait for it to exist, 2: an empty
//                                                  response marks the end of what was there
//   job-info.update-watch { id, key, flags }     → stream of { R } or { jobspec }: now, and whenever it changes
//   job-info.update-lookup { id, key, flags }    → { id, R }
//
// "guest." paths are in the job's own KVS namespace while it runs, and in the primary one afterwards: watchers are taken
// from one to the other without losing or repeating an event.
import type { Flux } from "../../client/flux.ts";
import { EVENTLOG_WATCH, JOB_LOOKUP } from "../../client/job-info.ts";
import { KVS, kvsGetText } from "../../client/kvs.ts";
import { defineModule } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser } from "../../client/service.ts";
import { parseEventlog, parseEventlogEntry } from "../../formats/eventlog.ts";
import { type JobId, jobKvsPath } from "../../formats/fluid.ts";
import { decodeJsonObject, encodeJson, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, strerror, toFluxError } from "../../message/errno.ts";
import { arr, jobid, str, uint } from "../../message/unpack.ts";
import { Lines, textOf } from "./kvs-stream.ts";
import { type EventlogReader, MainEventlog, submitterOf } from "./main-eventlog.ts";
import { Watcher } from "./watcher.ts";

const GUEST = "guest.";
/** Job owners that are remembered. */
const OWNERS_MAX = 10_000;

export default defineModule({
  name: "job-info",
  async start(h) {
    const info = new JobInfo(h);
    await h.serve("job-info", {
      lookup: allowUser((req) => info.lookup(req)),
      "eventlog-watch": allowUser((req) => info.watch(req)),
      "update-watch": allowUser((req) => info.updateWatch(req)),
      "update-lookup": allowUser((req) => info.updateLookup(req)),
    });
    return { stats: () => ({ ...info.stats }) };
  },
});

class JobInfo {
  readonly stats = { lookups: 0, watchers: 0, guest_watchers: 0, update_lookups: 0, update_watchers: 0 };
  readonly #h: Flux;
  /** Main eventlogs that somebody watches. Key: job id, and "w" when it need not exist yet. */
  readonly #watched = new Map<string, MainEventlog>();
  readonly #owners = new Map<JobId, number>();

  constructor(h: Flux) {
    this.#h = h;
  }

  // ---- access

  #allow(req: Request, userid: number): void {
    if (!req.isOwner && req.userid !== userid) throw new FluxError(errno.EPERM, "access is restricted to job/instance owner");
  }

  #remember(id: JobId, userid: number): void {
    if (this.#owners.size >= OWNERS_MAX) this.#owners.clear();
    this.#owners.set(id, userid);
  }

  // ---- lookup

  async lookup(req: Request): Promise<JsonObject> {
    const { id, keys, flags } = req.unpack({ id: jobid, keys: arr(str), flags: uint });
    if (flags > (JOB_LOOKUP.JSON_DECODE | JOB_LOOKUP.CURRENT)) throw new FluxError(errno.EPROTO, "lookup request rejected with invalid flag");
    return this.#counted("lookups", () => this.#lookup(req, id, keys, flags));
  }

  async updateLookup(req: Request): Promise<JsonObject> {
    const { id, key, flags } = req.unpack({ id: jobid, key: str, flags: uint });
    if (flags !== 0) throw new FluxError(errno.EPROTO, "update-lookup request rejected with invalid flag");
    if (key !== "R") throw new FluxError(errno.EINVAL, "update-lookup unsupported key specified");
    return this.#counted("update_lookups", () => this.#lookup(req, id, [key], JOB_LOOKUP.JSON_DECODE | JOB_LOOKUP.CURRENT));
  }

  async #counted<T>(name: "lookups" | "update_lookups", run: () => Promise<T>): Promise<T> {
    this.stats[name]++;
    try {
      return await run();
    } finally {
      this.stats[name]--;
    }
  }

  async #lookup(req: Request, id: JobId, keys: readonly string[], flags: number): Promise<JsonObject> {
    const special = (key: string): key is "R" | "jobspec" => key === "R" || key === "jobspec";
    const owner = req.isOwner ? undefined : this.#owners.get(id);
    if (owner !== undefined) this.#allow(req, owner);
    const current = (flags & JOB_LOOKUP.CURRENT) !== 0 && keys.some(special);
    const needsEventlog = current || keys.includes("eventlog") || (!req.isOwner && owner === undefined);
    const names = new Set(needsEventlog ? ["eventlog", ...keys] : keys);
    const values = new Map(await Promise.all([...names].map(async (key) => [key, await this.#value(id, key)] as const)));
    const eventlog = values.get("eventlog");
    if (eventlog instanceof FluxError) throw eventlog;
    if (!req.isOwner && owner === undefined) this.#allowByEventlog(req, id, eventlog ?? "");
    const answer: Record<string, Json> = { id };
    for (const key of keys) {
      const value = values.get(key);
      if (value === undefined || value instanceof FluxError) throw value ?? new FluxError(errno.ENOENT);
      if (!special(key) || flags === 0) answer[key] = value;
      else {
        const object = current ? applyUpdates(key, decodeJsonObject(value), eventlog ?? "") : decodeJsonObject(value);
        answer[key] = (flags & JOB_LOOKUP.JSON_DECODE) !== 0 ? object : encodeJson(object);
      }
    }
    return answer;
  }

  #allowByEventlog(req: Request, id: JobId, eventlog: string): void {
    const end = eventlog.indexOf("\n");
    const userid = submitterOf(parseEventlogEntry(eventlog.slice(0, end < 0 ? eventlog.length : end)));
    this.#remember(id, userid);
    this.#allow(req, userid);
  }

  /** A key's text, or why there is none: whether that matters depends on access, which is checked first. */
  async #value(id: JobId, key: string): Promise<string | FluxError> {
    try {
      return await kvsGetText(this.#h, jobKvsPath(id, key));
    } catch (thrown) {
      const error = toFluxError(thrown);
      return error.errno === errno.ENOENT && key.startsWith(GUEST) ? this.#runningValue(id, key) : noValue(key, error);
    }
  }

  /** Of a job that runs: in its own namespace. */
  async #runningValue(id: JobId, key: string): Promise<string | FluxError> {
    try {
      return await kvsGetText(this.#h, key.slice(GUEST.length), { namespace: `job-${id}` });
    } catch (thrown) {
      const error = toFluxError(thrown);
      // There is no namespace: it does not run.
      return noValue(key, error.errno === errno.EOPNOTSUPP ? new FluxError(errno.ENOENT) : error);
    }
  }

  // ---- the main eventlog

  #main(id: JobId, waitcreate = false): MainEventlog {
    const key = `${id}${waitcreate ? "w" : ""}`;
    let log = this.#watched.get(key);
    if (log !== undefined) return log;
    log = new MainEventlog(this.#h, id, waitcreate, () => {
      if (this.#watched.get(key) === log) this.#watched.delete(key);
    });
    this.#watched.set(key, log);
    return log;
  }

  watch(req: Request): typeof DEFERRED {
    const { id, path, flags } = req.unpack({ id: jobid, path: str, flags: uint });
    if (flags > (EVENTLOG_WATCH.WAITCREATE | EVENTLOG_WATCH.SENTINEL)) throw new FluxError(errno.EPROTO, "eventlog-watch request rejected with invalid flag");
    if (!req.isStreaming) throw new FluxError(errno.EPROTO, "eventlog-watch request rejected without streaming RPC flag");
    const watcher = this.#watcher(req, path.startsWith(GUEST) ? "guest_watchers" : "watchers");
    if (path === "eventlog") this.#watchMain(watcher, this.#main(id, (flags & EVENTLOG_WATCH.WAITCREATE) !== 0), (flags & EVENTLOG_WATCH.SENTINEL) !== 0);
    else this.#watchOther(watcher, id, path, flags);
    return DEFERRED;
  }

  #watcher(req: Request, counter: "watchers" | "guest_watchers" | "update_watchers"): Watcher {
    const watcher = new Watcher(req);
    this.stats[counter]++;
    watcher.onEnd(() => this.stats[counter]--);
    return watcher;
  }

  /** Reads the main eventlog for a watcher: nothing reaches `reader` before it is known that it may. */
  #readMain(watcher: Watcher, log: MainEventlog, reader: EventlogReader): void {
    let allowed = watcher.request.isOwner;
    const stop = log.read({
      line: (line) => {
        if (!watcher.isOpen) return;
        try {
          if (!allowed) this.#allow(watcher.request, log.userid ?? -1);
          allowed = true;
        } catch (err) {
          return watcher.fail(new FluxError(toFluxError(err).errno));
        }
        reader.line(line);
      },
      initial: () => {
        if (watcher.isOpen) reader.initial?.();
      },
      end: (error) => {
        if (watcher.isOpen) reader.end(error);
      },
    });
    watcher.onEnd(stop);
  }

  #watchMain(watcher: Watcher, log: MainEventlog, sentinel: boolean): void {
    this.#readMain(watcher, log, {
      line: (event) => watcher.send({ event }),
      ...(sentinel && { initial: () => watcher.sentinel() }),
      end: (error) => (error === undefined ? watcher.finish() : watcher.fail(error)),
    });
  }

  // ---- other eventlogs

  /** Waits until the state of the job says where the eventlog is. */
  #watchOther(watcher: Watcher, id: JobId, path: string, flags: number): void {
    const isGuest = path.startsWith(GUEST);
    const log = this.#main(id);
    let initial = false;
    let begun = false;
    const consider = (): void => {
      // "start" may be followed by "release" in what is there already: all of it is looked at first.
      if (begun || !initial || (isGuest && !log.started && !log.released)) return;
      begun = true;
      const follow = isGuest ? this.#followGuest(watcher, id, path, flags, log) : this.#followPrimary(watcher, id, path, flags);
      follow.then(
        () => watcher.finish(),
        (err: unknown) => watcher.fail(err instanceof StreamFailure ? err.reason : err),
      );
    };
    this.#readMain(watcher, log, {
      line: consider,
      initial: () => {
        initial = true;
        consider();
      },
      end: (error) => {
        if (begun) return;
        if (error !== undefined) watcher.fail(error);
        else watcher.finish(); // it never started, and now never will
      },
    });
  }

  /** Sends the events of one KVS stream, leaving out the first `skip`; resolves to how many it has read. Throws StreamFailure. */
  async #send(watcher: Watcher, payload: JsonObject, skip: number): Promise<number> {
    const stream = this.#h.stream("kvs-watch.lookup", payload, { cancelTopic: "kvs-watch.lookup-cancel" });
    watcher.onEnd(() => void stream.return());
    const lines = new Lines();
    let count = 0;
    try {
      for await (const response of stream) {
        const text = textOf(response);
        if (text === undefined) watcher.sentinel();
        else for (const event of lines.push(text)) if (++count > skip) watcher.send({ event });
      }
    } catch (err) {
      throw new StreamFailure(toFluxError(err), count);
    }
    return count;
  }

  async #followPrimary(watcher: Watcher, id: JobId, path: string, flags: number): Promise<void> {
    await this.#send(watcher, { key: jobKvsPath(id, path), namespace: "primary", flags: watchFlags(flags) }, 0);
  }

  async #followGuest(watcher: Watcher, id: JobId, path: string, flags: number, log: MainEventlog): Promise<void> {
    const sent = log.released ? 0 : await this.#followNamespace(watcher, id, path, flags);
    if (sent === undefined || !watcher.isOpen) return;
    try {
      await this.#send(watcher, { key: jobKvsPath(id, path), namespace: "primary", flags: KVS.STREAM }, sent);
    } catch (err) {
      // What was all sent before the namespace went may not have been worth keeping.
      if (!(err instanceof StreamFailure && err.reason.errno === errno.ENOENT && sent > 0)) throw err;
    }
    if (log.released && (flags & EVENTLOG_WATCH.SENTINEL) !== 0 && sent === 0) watcher.sentinel();
  }

  /** How many events came before the namespace went away; undefined when the stream ended in another way. */
  async #followNamespace(watcher: Watcher, id: JobId, path: string, flags: number): Promise<number | undefined> {
    try {
      await this.#send(watcher, { key: path.slice(GUEST.length), namespace: `job-${id}`, flags: watchFlags(flags) }, 0);
      return undefined;
    } catch (err) {
      if (err instanceof StreamFailure && err.reason.errno === errno.EOPNOTSUPP) return err.count;
      throw err;
    }
  }

  // ---- R and jobspec as they change

  async updateWatch(req: Request): Promise<typeof DEFERRED> {
    const { id, key, flags } = req.unpack({ id: jobid, key: str, flags: uint });
    if (flags !== 0) throw new FluxError(errno.EPROTO, "update-watch request rejected with invalid flag");
    if (!req.isStreaming) throw new FluxError(errno.EPROTO, "update-watch request rejected without streaming RPC flag");
    if (key !== "R" && key !== "jobspec") throw new FluxError(errno.EINVAL, "update-watch unsupported key specified");
    const answer = await this.#lookup(req, id, [key], JOB_LOOKUP.JSON_DECODE);
    let value = answer[key];
    if (!isJsonObject(value) || !req.isOpen) return DEFERRED;
    const watcher = this.#watcher(req, "update_watchers");
    let initial = false;
    const send = (): void => {
      if (value !== undefined) watcher.send({ [key]: value });
    };
    this.#readMain(watcher, this.#main(id), {
      line: (line) => {
        if (!line.includes(UPDATE_EVENT[key])) return;
        const { name, context } = parseEventlogEntry(line);
        if (name !== UPDATE_EVENT[key] || context === undefined || !isJsonObject(value)) return;
        value = updated(key, value, context);
        if (initial) send();
      },
      initial: () => {
        initial = true;
        send();
      },
      end: (error) => (error === undefined ? watcher.finish() : watcher.fail(error)),
    });
    return DEFERRED;
  }
}

/** Why a key has no value, in the words that users know. */
function noValue(key: string, { errno: code }: FluxError): FluxError {
  if (code !== errno.ENOENT) return new FluxError(code, `${key}: ${strerror(code)}`);
  return new FluxError(code, key === "eventlog" ? "invalid job id" : `${key}: key not found`);
}

/** A stream that failed after some events. */
class StreamFailure extends Error {
  readonly reason: FluxError;
  readonly count: number;

  constructor(reason: FluxError, count: number) {
    super(reason.message);
    this.reason = reason;
    this.count = count;
  }
}

function watchFlags(flags: number): number {
  const waits = (flags & EVENTLOG_WATCH.WAITCREATE) !== 0 ? KVS.WAITCREATE : 0;
  const parts = (flags & EVENTLOG_WATCH.SENTINEL) !== 0 ? KVS.WATCH_INITIAL_SENTINEL : 0;
  return KVS.WATCH | KVS.WATCH_APPEND | waits | parts;
}

const UPDATE_EVENT = { R: "resource-update", jobspec: "jobspec-update" } as const;

/** R or a jobspec with all updates of the eventlog. */
function applyUpdates(key: "R" | "jobspec", value: JsonObject, eventlog: string): JsonObject {
  let result = value;
  if (!eventlog.includes(UPDATE_EVENT[key])) return value;
  for (const { name, context } of parseEventlog(eventlog)) {
    if (name === UPDATE_EVENT[key] && context !== undefined) result = updated(key, result, context);
  }
  return result;
}

/** One update (RFC 21): of R only the expiration, of a jobspec any path. The value itself is not changed. */
function updated(key: "R" | "jobspec", value: JsonObject, context: JsonObject): JsonObject {
  let result = value;
  for (const [path, to] of Object.entries(context)) {
    if (key === "jobspec") result = withPath(result, path.split("."), to);
    else if (path === "expiration") result = withPath(result, ["execution", "expiration"], to);
  }
  return result;
}

function withPath(object: JsonObject, [name, ...rest]: readonly string[], value: Json): JsonObject {
  if (name === undefined) return object;
  const before = object[name];
  return { ...object, [name]: rest.length === 0 ? value : withPath(isJsonObject(before) ? before : {}, rest, value) };
}
