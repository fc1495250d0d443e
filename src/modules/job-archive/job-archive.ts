// Module job-archive: keeps jobs that are over in an SQLite file, also after they are purged. rc1 loads it on rank 0
// where the configuration has a table [archive] (settings.ts).
//
//   job-archive.store {ids: [jobid]} → {count}   answered when these jobs are in the file; the job manager asks before it
//                                                purges. count: how many were not there before
//   job-archive.stats-get → { dbpath, stored, failed }
//
// Every period it asks job-list which jobs have ended since, and writes them in transactions of BATCH jobs, between which
// others have their turn. Nothing waits for it but a purge. What an earlier run has not written is found at the start,
// since the file says how far it got.
import type { Flux } from "../../client/flux.ts";
import { kvsGetText } from "../../client/kvs.ts";
import { defineModule, type ModuleContext } from "../../client/module.ts";
import { lastingDirectory } from "../../client/statedir.ts";
import { formatJobId, type JobId, jobKvsPath, toJobId } from "../../formats/fluid.ts";
import { isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import type { Timer } from "../../os/clock.ts";
import { arr, jobid } from "../../message/unpack.ts";
import { ArchiveDatabase } from "./database.ts";
import { jobRecord, type JobRecord } from "./record.ts";
import { type ArchiveSettings, archiveSettings } from "./settings.ts";

const LOG_ERR = 3;
const FILE = "job-archive.sqlite";
/** Jobs in a transaction: it is synchronized to the disk, and must not hold the broker. */
const BATCH = 100;
/** Jobs in one request. */
const STORE_MAX = 10_000;
/** Jobs whose events may have come late, or while the clock was set. */
const OVERLAP_S = 60;
const STOP_BUSYTIMEOUT_S = 1;
const RETRY_MS = 10;

export default defineModule({
  name: "job-archive",
  async start(h, context) {
    const settings = archiveSettings(context.config);
    if (settings === undefined) throw new FluxError(errno.EINVAL, "the configuration has no table [archive]");
    const archive = new JobArchive(h, context, settings, ArchiveDatabase.open(await pathOf(h, settings)));
    await h.serve("job-archive", { store: (req) => archive.store(req.unpack({ ids: arr(jobid) }).ids) });
    archive.schedule(0);
    return { stop: () => archive.stop(), stats: () => archive.stats(), reconfigure: (config) => archive.configure(config) };
  },
});

async function pathOf(h: Flux, { dbpath }: ArchiveSettings): Promise<string> {
  if (dbpath !== undefined) return dbpath;
  const directory = await lastingDirectory(h);
  if (directory !== undefined) return `${directory}/${FILE}`;
  throw new FluxError(errno.EINVAL, "archive.dbpath: must be set, since this instance has no statedir that outlasts it");
}

class JobArchive {
  readonly #h: Flux;
  readonly #context: ModuleContext;
  #settings: ArchiveSettings;
  #database: ArchiveDatabase;
  #timer: Timer | undefined;
  /** The file's writes, one after another. */
  #writes: Promise<unknown> = Promise.resolve();
  /** Jobs that ended before have been written. */
  #since_s: number;
  #stored = 0;
  #failed = 0;
  /** What the last failure was: it is logged once. */
  #complaint = "";
  #stopped = false;

  constructor(h: Flux, context: ModuleContext, settings: ArchiveSettings, database: ArchiveDatabase) {
    this.#h = h;
    this.#context = context;
    this.#settings = settings;
    this.#database = database;
    this.#since_s = database.lastEnd_s();
  }

  stats(): JsonObject {
    return { dbpath: this.#database.path, stored: this.#stored, failed: this.#failed };
  }

  /** Takes another configuration. Without [archive] everything stays as it was until the module is unloaded. */
  async configure(config: JsonObject): Promise<void> {
    const settings = archiveSettings(config);
    if (settings === undefined) return;
    const path = await pathOf(this.#h, settings);
    if (path !== this.#database.path) {
      const database = ArchiveDatabase.open(path);
      await this.#inTurn(() => Promise.resolve(this.#database.close()));
      this.#database = database;
      this.#since_s = database.lastEnd_s();
    }
    this.#settings = settings;
    this.schedule(settings.period_s);
  }

  /** What has ended by now is written before the end, unless another program writes: then the next run writes it. */
  async stop(): Promise<void> {
    this.#context.clock.clear(this.#timer);
    this.#settings = { ...this.#settings, busytimeout_s: Math.min(this.#settings.busytimeout_s, STOP_BUSYTIMEOUT_S) };
    await this.#archiveNew();
    this.#stopped = true;
    await this.#inTurn(() => Promise.resolve(this.#database.close()));
  }

  /** Jobs whose eventlogs are in the KVS, all of them. Rejects when one can't be written. */
  async store(ids: readonly JobId[]): Promise<JsonObject> {
    if (ids.length > STORE_MAX) throw new FluxError(errno.E2BIG, `at most ${STORE_MAX} jobs at a time`);
    return { count: await this.#add(ids) };
  }

  schedule(delay_s: number): void {
    const { clock } = this.#context;
    clock.clear(this.#timer);
    this.#timer = clock.setTimer(delay_s * 1000, () => {
      void this.#archiveNew().finally(() => {
        if (!this.#stopped) this.schedule(this.#settings.period_s);
      });
    }).unref();
  }

  /** Never rejects: what goes wrong is logged, and tried again the next time. */
  async #archiveNew(): Promise<void> {
    try {
      const { ids, last_s } = await this.#ended();
      await this.#add(ids);
      this.#since_s = Math.max(this.#since_s, last_s);
      this.#complaint = "";
    } catch (err) {
      this.#complain(toFluxError(err).message);
    }
  }

  /** Jobs that ended since the last time and are not in the file, the first of them first. */
  async #ended(): Promise<{ ids: JobId[]; last_s: number }> {
    const request = {
      max_entries: 0, attrs: ["t_inactive"], since: Math.max(0, this.#since_s - OVERLAP_S), constraint: { states: ["inactive"] },
    };
    const ids: JobId[] = [];
    let last_s = 0;
    for await (const { jobs } of this.#h.stream("job-list.list", request)) {
      if (!Array.isArray(jobs)) continue;
      for (const job of (jobs as readonly Json[]).filter(isJsonObject)) {
        const [id, end_s] = [toJobId(job["id"]), Number(job["t_inactive"])];
        if (!this.#database.has(id, end_s)) ids.push(id);
        last_s = Math.max(last_s, end_s);
      }
    }
    return { ids: ids.reverse(), last_s };
  }

  /** Resolves to how many were not there before. */
  async #add(ids: readonly JobId[]): Promise<number> {
    let count = 0;
    for (let i = 0; i < ids.length; i += BATCH) {
      const batch = ids.slice(i, i + BATCH);
      count += await this.#inTurn(() => this.#addBatch(batch));
    }
    return count;
  }

  async #addBatch(ids: readonly JobId[]): Promise<number> {
    const found = await Promise.all(ids.map((id) => this.#read(id)));
    const records = found.filter((record) => record !== undefined && !this.#database.has(record.id, record.t_inactive)) as JobRecord[];
    if (records.length > 0) await this.#write(records);
    this.#stored += records.length;
    return records.length;
  }

  /** undefined for a job that has been purged, or that makes no sense: then it would make none later. */
  async #read(id: JobId): Promise<JobRecord | undefined> {
    const text = (name: string): Promise<string> => kvsGetText(this.#h, jobKvsPath(id, name));
    try {
      const [eventlog, jobspec, R] = await Promise.all([text("eventlog"), text("jobspec"), text("R").catch(absent)]);
      return jobRecord(id, eventlog, jobspec, R);
    } catch (err) {
      if (isErrno(err, errno.ENOENT)) return undefined;
      if (err instanceof FluxError) throw err;
      this.#failed++;
      this.#h.log(LOG_ERR, `job ${formatJobId(id, "f58")} is not archived: ${toFluxError(err).message}`);
      return undefined;
    }
  }

  /** Waits for another program that writes to the file, for busytimeout at most. */
  async #write(records: readonly JobRecord[]): Promise<void> {
    const { clock } = this.#context;
    const until_ms = clock.monotonic_ms() + this.#settings.busytimeout_s * 1000;
    for (;;) {
      try {
        return this.#database.add(records);
      } catch (err) {
        if (!isErrno(err, errno.EBUSY) || clock.monotonic_ms() >= until_ms) throw err;
      }
      await clock.sleep(RETRY_MS);
    }
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#writes.then(run);
    this.#writes = done.catch(() => undefined);
    return done;
  }

  #complain(text: string): void {
    if (text === this.#complaint) return;
    this.#complaint = text;
    this.#h.log(LOG_ERR, `jobs are not archived at the moment: ${text}`);
  }
}

function absent(err: unknown): null {
  if (isErrno(err, errno.ENOENT)) return null;
  throw err;
}
