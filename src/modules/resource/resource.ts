// resource: what the instance has to give out. It finds R (see inventory.ts), follows which brokers are online and which
// targets are drained, tells the scheduler (acquire.ts), and writes it all down (journal.ts). RFCs 20, 28, 44.
//
// On rank 0:
//   resource.status                               → { R, drain, online, offline, exclude, torpid }
//   resource.sched-status                         → { all, down, allocated }, each an R without excluded targets
//   resource.drain { targets, reason?, mode? }    targets: idset or hostlist
//   resource.undrain { targets, reason?, mode? }
//   resource.acquire, acquire-mute                RFC 28
//   resource.journal                              events as a stream
//   resource.reload { path, xml, force }          another R, for tests
//   resource.get                                  → { R, method }
//   resource.expiration-update { expiration }
//   resource.monitor-waitup { up }                answered when so many ranks are up
//   resource.monitor-force-down { ranks }         as if they had left
// On every rank:
//   resource.topo-reduce, topo-get                discovery.ts
import { encodeR } from "../../client/resources.ts";
import { Flux } from "../../client/flux.ts";
import { defineModule, type ModuleContext, type ModuleHooks } from "../../client/module.ts";
import { DEFERRED, type Request } from "../../client/request.ts";
import { allowUser, type Methods } from "../../client/service.ts";
import { lastingDirectory } from "../../client/statedir.ts";
import { type EventlogEntry, formatEventlog, formatEventlogEntry } from "../../formats/eventlog.ts";
import { type JobId, parseJobId } from "../../formats/fluid.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { decodeJsonObject, type JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, FluxError, isErrno, toFluxError } from "../../message/errno.ts";
import { bool, int, num, obj, opt, str, uint, unpack } from "../../message/unpack.ts";
import { hwlocXml } from "../../os/hwloc.ts";
import { Acquire } from "./acquire.ts";
import { loadR, parseResourceConfig, type ResourceConfig, verifyNode } from "./config.ts";
import { loadXmlDirectory, localR, Upward } from "./discovery.ts";
import { DrainState, hostsOf, overwriteOf, parseDrainMode } from "./drain.ts";
import { fromParent, rankConfigured, type RMethod, targetsToRanks, withoutScheduling } from "./inventory.ts";
import { Journal } from "./journal.ts";
import { appendEvents, readKey, replaceEvents, storeCheckpoint, storeR } from "./store.ts";

const LOG_ERR = 3;
const LOG_INFO = 6;
const LOG_DEBUG = 7;

export default defineModule({
  name: "resource",
  async start(h, context) {
    for (const arg of context.args) {
      if (!["monitor-force-up", "noverify", "notruncate"].includes(arg)) throw new FluxError(errno.EINVAL, `unknown option: ${arg}`);
    }
    const config = parseResourceConfig(context.config, context.rank, context.args);
    return context.rank === 0 ? startLeader(h, context, config) : startFollower(h, context, config);
  },
});

/** An R from a payload. Throws FluxError EPROTO. */
function parseR(value: unknown): Rset {
  try {
    return Rset.parse(value);
  } catch (err) {
    throw new FluxError(errno.EPROTO, toFluxError(err).message, { cause: err });
  }
}

function topoGet(config: ResourceConfig): Methods[string] {
  return allowUser(async () => Buffer.from(`${await hwlocXml({ restricted: !config.norestrict })}\0`));
}

// ---- every rank but 0

/** Who asks here by mistake gets a better answer than that there is no such method. */
const LEADER_ONLY: Methods = {
  status: allowUser(() => refuse(errno.EPROTO, "this RPC only works on rank 0")),
  "sched-status": allowUser(() => refuse(errno.EPROTO, "this RPC only works on rank 0")),
  reload: () => refuse(errno.ENOSYS, "resource.reload is only available on rank 0"),
  "expiration-update": () => refuse(errno.ENOSYS, "resource.expiration-update is only available on rank 0"),
};

function refuse(code: number, text: string): never {
  throw new FluxError(code, text);
}

async function startFollower(h: Flux, context: ModuleContext, config: ResourceConfig): Promise<ModuleHooks> {
  const { rank, clock } = context;
  const upward = new Upward(h, rank, clock);
  const local = localR(rank, config.norestrict);
  await h.serve("resource", {
    "topo-get": topoGet(config),
    "topo-reduce": async (req) => {
      await upward.add(parseR(req.unpack({ resource: obj }).resource));
    },
    ...LEADER_ONLY,
  });
  const failed = (err: unknown): void => {
    if (!h.isClosed) h.log(LOG_ERR, `resource discovery: ${toFluxError(err).message}`);
  };
  upward.add(local).catch(failed);
  if (!config.noverify) verifyFollower(h, context, config, local).catch(failed);
  return {
    stop: () => upward.stop(),
    reconfigure: (next) => void parseResourceConfig(next, rank, context.args),
  };
}

async function verifyFollower(h: Flux, context: ModuleContext, config: ResourceConfig, local: Rset): Promise<void> {
  const { rank } = context;
  const known = await knownR(h, context, config);
  if (known === undefined || (known.method === "job-info" && !config.verify.explicit)) return;
  const problem = verifyNode(known.R, local, rank, config.verify);
  if (problem === undefined) return;
  h.log(LOG_ERR, `draining: ${problem}`);
  await h.rpc("resource.drain", { targets: String(rank), reason: problem, mode: "update" }, { nodeid: 0 });
}

async function knownR(h: Flux, context: ModuleContext, config: ResourceConfig): Promise<{ R: Rset; method: string } | undefined> {
  if (config.R !== undefined) return { R: rankConfigured(config.R, context.config, await h.attr("hostlist")), method: "configuration" };
  try {
    const { R, method } = unpack(await h.rpc("resource.get", undefined, { nodeid: 0 }), { R: obj, method: str });
    return { R: parseR(R), method };
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) return undefined; // not known yet: it will be made of what we found
    throw err;
  }
}

// ---- rank 0

async function startLeader(h: Flux, context: ModuleContext, config: ResourceConfig): Promise<ModuleHooks> {
  const leader = new Leader(h, context, config, Hostlist.parse(await h.attr("hostlist")));
  await leader.recover();
  await h.serve("resource", leader.methods());
  await leader.begin();
  return {
    stop: () => leader.stop(),
    reconfigure: (next) => leader.journal.setMax(parseResourceConfig(next, 0, context.args).journalMax),
  };
}

interface Status {
  readonly all: Rset;
  readonly allJson: JsonObject;
  down: JsonObject | undefined;
}

class Leader {
  readonly journal: Journal;
  readonly #h: Flux;
  readonly #context: ModuleContext;
  readonly #config: ResourceConfig;
  readonly #hosts: Hostlist;
  readonly #drain = new DrainState();
  readonly #acquire: Acquire;
  readonly #everyone: IdSet;
  #R: Rset | undefined;
  #RJson: JsonObject | undefined;
  #method: RMethod | undefined;
  #exclude = new IdSet();
  #online = new IdSet();
  #torpid = new IdSet();
  #lost = new IdSet();
  /** From when to when the enclosing instance lets us have resources. */
  #lifetime: Pick<Rset, "starttime" | "expiration"> | undefined;
  /** What brokers have found so far; undefined once R is known. */
  #found: Rset | undefined = new Rset();
  #status: Status | undefined;
  #allocated: Promise<Rset> | undefined;
  #waitup = new Map<Request, number>();
  #parent: Flux | undefined;
  #stopped = false;

  constructor(h: Flux, context: ModuleContext, config: ResourceConfig, hosts: Hostlist) {
    this.#h = h;
    this.#context = context;
    this.#config = config;
    this.#hosts = hosts;
    this.#everyone = IdSet.range(0, context.size - 1);
    this.journal = new Journal({ clock: context.clock, max: config.journalMax, append: (text) => appendEvents(h, text), R: () => this.#RJson });
    this.#acquire = new Acquire(() => ({
      R: this.#R,
      exclude: this.#exclude,
      unavailable: this.#unavailable,
      lost: this.#shrinks ? this.#lost : new IdSet(),
    }));
  }

  /** Reads what an earlier life left, and R where it is known without looking. */
  async recover(): Promise<void> {
    const h = this.#h;
    const [eventlog, checkpoint, stored] = await Promise.all([
      readKey(h, "resource.eventlog"),
      readKey(h, "checkpoint.resource"),
      readKey(h, "resource.R"),
    ]);
    const since = checkpoint === undefined ? 0 : this.#drain.restore(decodeJsonObject(checkpoint), this.#hosts);
    const events = this.journal.load(eventlog ?? "");
    this.#drain.replay(events, since, this.#hosts);
    await this.#forget(events, since);
    if (this.#config.R !== undefined) {
      this.#define(rankConfigured(this.#config.R, this.#context.config, this.#hosts.toString()), "configuration");
    } else if (stored !== undefined) this.#define(parseR(decodeJsonObject(stored)), "kvs");
    else await this.#askParent();
    this.#setExclude();
  }

  /** Takes events out of the KVS that are in the checkpoint of `since`, and that nobody wants to keep for their history. */
  async #forget(events: readonly EventlogEntry[], since: number): Promise<void> {
    const oldest = Math.min(since, this.#context.clock.now_s() - this.#config.history_s);
    const kept = events.filter(({ timestamp }) => timestamp >= oldest);
    if (kept.length < events.length) await replaceEvents(this.#h, formatEventlog(kept));
  }

  #setExclude(): void {
    const { exclude } = this.#config;
    if (exclude === undefined) return;
    try {
      this.#exclude = targetsToRanks(exclude, this.#R);
    } catch (err) {
      throw new FluxError(errno.EINVAL, `error decoding exclude set ${exclude}: ${toFluxError(err).message}`);
    }
    if ((this.#exclude.last ?? 0) >= this.#targetCount) throw new FluxError(errno.EINVAL, `exclude set ${exclude} is out of range`);
    const undrain = this.#drain.ranks.intersect(this.#exclude);
    if (undrain.isEmpty) return;
    this.#drain.undrain(undrain);
    this.#note(this.journal.post("undrain", { idset: undrain.toString(), nodelist: hostsOf(undrain, this.#hosts) }).stored);
  }

  /** Begins to watch brokers come and go, and looks at this host. */
  async begin(): Promise<void> {
    const forced = this.#context.args.includes("monitor-force-up");
    if (forced) this.#online = this.#everyone;
    this.journal.note("restart", { ranks: this.#everyone.toString(), online: this.#online.toString(), nodelist: this.#hosts.toString() });
    // R that was known before the services were there is told of after "restart".
    if (this.#R !== undefined) await this.#announce();
    const recovery = await this.#h.optionalAttr("broker.recovery-mode");
    if (!forced && recovery === undefined) {
      this.#follow("broker.online", (members) => this.#setOnline(members));
      this.#follow("broker.torpid", (members) => this.#setTorpid(members));
    }
    const local = localR(0, this.#config.norestrict);
    if (this.#R === undefined) this.#reduce(local);
    else this.#verify(local, recovery !== undefined);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#acquire.close();
    this.#parent?.close();
    // Nobody will ask an instance that leaves nothing behind.
    if (this.#drain.ranks.isEmpty && (await lastingDirectory(this.#h)) === undefined) return;
    await storeCheckpoint(this.#h, this.#drain.checkpoint(this.#context.clock.now_s(), this.#hosts)).catch((err: unknown) => {
      this.#h.log(LOG_ERR, `failed to checkpoint drain state: ${toFluxError(err).message}`);
    });
  }

  get #targetCount(): number {
    return Math.max(this.#context.size, (this.#R?.ranks.last ?? -1) + 1);
  }

  /** Brokers that left a test or user instance do not come back: only configured resources are waited for. */
  get #shrinks(): boolean {
    return this.#method !== undefined && this.#method !== "configuration";
  }

  get #offline(): IdSet {
    return this.#everyone.subtract(this.#online);
  }

  get #unavailable(): IdSet {
    return this.#offline.union(this.#torpid).union(this.#drain.ranks);
  }

  /** An event that nobody waits for must not vanish in silence. */
  #note(stored: Promise<void>): void {
    stored.catch((err: unknown) => {
      if (!this.#h.isClosed) this.#h.log(LOG_ERR, `committing to resource.eventlog: ${toFluxError(err).message}`);
    });
  }

  #changed(): void {
    if (this.#status !== undefined) this.#status.down = undefined;
    this.#acquire.changed();
  }

  // -- R

  #define(R: Rset, method: RMethod): void {
    this.#R = R;
    this.#RJson = encodeR(R);
    this.#method = method;
    this.#found = undefined;
    this.#status = undefined;
  }

  /** Stores R and tells of it. */
  async #announce(): Promise<void> {
    const entry = { timestamp: this.#context.clock.now_s(), name: "resource-define", context: { method: this.#method ?? "" } };
    const events = formatEventlogEntry(entry);
    try {
      await (this.#method === "kvs" ? appendEvents(this.#h, events) : storeR(this.#h, this.#RJson ?? {}, events));
    } catch (err) {
      if (!isErrno(err, errno.ENOSYS)) throw err; // without a KVS (tests) R is kept in memory only
    }
    this.journal.note(entry.name, entry.context, entry.timestamp);
    this.#acquire.defined();
  }

  #verify(local: Rset, recovery: boolean): void {
    const { verify, noverify } = this.#config;
    if (noverify || recovery || this.#R === undefined || (this.#method === "job-info" && !verify.explicit)) return;
    const problem = verifyNode(this.#R, local, 0, verify);
    if (problem === undefined) return;
    this.#h.log(LOG_ERR, `draining: ${problem}`);
    this.#note(this.#postDrain(IdSet.of(0), problem, undefined));
  }

  /** What brokers have found; R when all have. */
  #reduce(R: Rset): void {
    if (this.#found === undefined) return;
    this.#found = this.#found.union(R);
    if (this.#found.nnodes < this.#context.size) return;
    const whole = this.#found.slice(this.#everyone);
    if (this.#lifetime !== undefined) [whole.starttime, whole.expiration] = [this.#lifetime.starttime, this.#lifetime.expiration];
    this.#define(whole, "dynamic-discovery");
    this.#announce().catch((err: unknown) => {
      this.#h.log(LOG_ERR, `error setting reduced resource object: ${toFluxError(err).message}`);
    });
  }

  /** The enclosing instance knows what the job that we are was given, and when that ends. */
  async #askParent(): Promise<void> {
    const [uri, jobid] = await Promise.all([this.#h.optionalAttr("parent-uri"), this.#h.optionalAttr("jobid")]);
    if (uri === undefined || jobid === undefined) return;
    try {
      this.#parent = await Flux.open(uri);
      const updates = this.#givenR(this.#parent, parseJobId(jobid));
      const first = await updates.next();
      if (first.done === true) return;
      const given = first.value;
      this.#lifetime = given;
      const R = this.#config.rediscover ? undefined : fromParent(given, this.#context.size, this.#hosts.toString());
      if (this.#config.rediscover) this.#h.log(LOG_DEBUG, "R of the enclosing instance is not used, as resource.rediscover wants it");
      else if (R === undefined) this.#h.log(LOG_DEBUG, `cannot map R of the enclosing instance to ${this.#context.size} brokers, falling back to discovery`);
      if (R !== undefined) this.#define(R, "job-info");
      this.#followParent(updates);
    } catch (err) {
      this.#h.log(LOG_ERR, `lookup R from enclosing instance: ${toFluxError(err).message}`);
    }
  }

  /** R of the job that we are, now and whenever it changes; of an instance older than flux-core 0.56 only now. */
  async *#givenR(parent: Flux, id: JobId): AsyncGenerator<Rset, void> {
    // A name that nobody serves is how a test asks for an old one.
    const topic = this.#config.noUpdateWatch ? "job-info.no-update-watch" : "job-info.update-watch";
    try {
      for await (const { R } of parent.stream(topic, { id, key: "R", flags: 0 }, { cancelTopic: "job-info.update-watch-cancel" })) yield parseR(R);
    } catch (err) {
      if (!isErrno(err, errno.ENOSYS)) throw err;
      this.#h.log(LOG_DEBUG, `no support for ${topic} in parent, falling back to job-info.lookup`);
      yield parseR((await parent.rpc("job-info.lookup", { id, keys: ["R"], flags: 0 }))["R"]);
    }
  }

  #followParent(updates: AsyncIterable<Rset>): void {
    const follow = async (): Promise<void> => {
      for await (const given of updates) {
        this.#lifetime = given;
        await this.#expire(this.#lifetime.expiration);
      }
    };
    follow().catch((err: unknown) => {
      if (!this.#stopped) this.#h.log(LOG_ERR, `R updates of the enclosing instance: ${toFluxError(err).message}`);
    });
  }

  async #expire(expiration: number): Promise<void> {
    if (this.#R === undefined) {
      // R gets it when all brokers have said what they have.
      this.#lifetime = { starttime: this.#lifetime?.starttime ?? 0, expiration };
      return;
    }
    if (this.#R.expiration === expiration) return;
    const R = this.#R.clone();
    R.expiration = expiration;
    this.#R = R;
    this.#RJson = encodeR(R);
    this.#status = undefined;
    const entry = { timestamp: this.#context.clock.now_s(), name: "resource-update", context: { expiration } };
    await storeR(this.#h, this.#RJson, formatEventlogEntry(entry));
    this.journal.note(entry.name, entry.context, entry.timestamp);
    this.#acquire.expires(expiration);
  }

  // -- brokers

  #follow(name: string, update: (members: IdSet) => void): void {
    const follow = async (): Promise<void> => {
      for await (const payload of this.#h.stream("groups.get", { name })) {
        update(IdSet.parse(unpack(payload, { members: str }).members));
      }
    };
    follow().catch((err: unknown) => {
      if (!this.#stopped && !this.#h.isClosed) this.#h.log(LOG_ERR, `monitor: ${name}: ${toFluxError(err).message}`);
    });
  }

  #setOnline(members: IdSet): void {
    const joined = members.subtract(this.#online);
    const left = this.#online.subtract(members);
    if (joined.isEmpty && left.isEmpty) return;
    this.#online = members;
    this.#lost = this.#lost.union(left).subtract(joined);
    if (!joined.isEmpty) this.journal.note("online", { idset: joined.toString() });
    if (!left.isEmpty) this.journal.note("offline", { idset: left.toString() });
    if (!left.isEmpty && this.#shrinks) this.#status = undefined;
    this.#changed();
    for (const [req, wanted] of this.#waitup) if (members.count >= wanted) this.#answerWaitup(req);
  }

  #setTorpid(members: IdSet): void {
    const added = members.subtract(this.#torpid);
    const gone = this.#torpid.subtract(members);
    this.#torpid = members;
    if (!added.isEmpty) this.journal.note("torpid", { idset: added.toString() });
    if (!gone.isEmpty) this.journal.note("lively", { idset: gone.toString() });
    if (!added.isEmpty || !gone.isEmpty) this.#changed();
  }

  #answerWaitup(req: Request): void {
    this.#waitup.delete(req);
    req.respond();
  }

  // -- requests

  methods(): Methods {
    return {
      "topo-get": topoGet(this.#config),
      "topo-reduce": (req) => this.#reduce(parseR(req.unpack({ resource: obj }).resource)),
      status: allowUser(() => this.#answerStatus()),
      "sched-status": allowUser(() => this.#answerSchedStatus()),
      get: () => this.#answerGet(),
      drain: (req) => this.#answerDrain(req),
      undrain: (req) => this.#answerUndrain(req),
      acquire: (req) => {
        this.#acquire.open(req);
        return DEFERRED;
      },
      "acquire-mute": () => this.#acquire.mute(),
      journal: (req) => {
        this.journal.open(req);
        return DEFERRED;
      },
      reload: (req) => this.#answerReload(req),
      "expiration-update": (req) => this.#answerExpiration(req),
      "monitor-waitup": (req) => this.#answerMonitorWaitup(req),
      "monitor-force-down": (req) => this.#setOnline(this.#online.subtract(idset(req.unpack({ ranks: str }).ranks))),
    };
  }

  #answerStatus(): JsonObject {
    // While brokers are still looking, nothing is there yet: no error, or `flux uptime` fails until the last has come.
    const R = this.#R ?? new Rset();
    return {
      R: this.#RJson !== undefined && R.scheduling === undefined ? this.#RJson : encodeR(withoutScheduling(R)),
      drain: this.#drain.info(),
      online: this.#online.toString(),
      offline: this.#offline.toString(),
      exclude: this.#exclude.toString(),
      torpid: this.#torpid.toString(),
    };
  }

  #answerGet(): JsonObject {
    if (this.#RJson === undefined) throw new FluxError(errno.ENOENT, "resources are not known yet");
    return { R: this.#RJson, method: this.#method ?? "" };
  }

  async #answerSchedStatus(): Promise<JsonObject> {
    // Requests that come while one is under way share its answer.
    this.#allocated ??= this.#askAllocated().finally(() => {
      this.#allocated = undefined;
    });
    const allocated = await this.#allocated;
    const status = (this.#status ??= this.#newStatus());
    status.down ??= encodeR(status.all.slice(status.all.ranks.intersect(this.#unavailable)));
    for (const [name, ranks] of status.all.properties) allocated.setProperty(name, ranks);
    return { all: status.allJson, down: status.down, allocated: encodeR(allocated) };
  }

  #newStatus(): Status {
    const R = withoutScheduling(this.#R ?? new Rset());
    const ranks = R.ranks.subtract(this.#exclude);
    const all = R.slice(this.#shrinks ? ranks.subtract(this.#lost) : ranks);
    return { all, allJson: encodeR(all), down: undefined };
  }

  async #askAllocated(): Promise<Rset> {
    try {
      return parseR((await this.#h.rpc("job-manager.resource-status", undefined, { nodeid: 0 }))["allocated"]);
    } catch (err) {
      if (isErrno(err, errno.ENOSYS)) return new Rset(); // no job manager yet: nothing is allocated
      throw err;
    }
  }

  #targets(text: string): IdSet {
    const ranks = targetsToRanks(text, this.#R);
    if (ranks.isEmpty) throw new FluxError(errno.EINVAL, "idset is empty");
    if ((ranks.last ?? 0) >= this.#targetCount) throw new FluxError(errno.EINVAL, "idset is out of range");
    return ranks;
  }

  async #answerDrain(req: Request): Promise<void> {
    const { targets, reason, mode: modeName } = req.unpack({ targets: str, reason: opt(str), mode: opt(str) });
    const ranks = this.#targets(targets);
    const mode = parseDrainMode(modeName, "Invalid mode specified");
    if (mode === "fail") this.#drain.check(ranks, this.#exclude);
    await this.#postDrain(ranks, reason, overwriteOf(mode));
  }

  async #postDrain(ranks: IdSet, reason: string | undefined, overwrite: number | undefined): Promise<void> {
    const timestamp = this.#context.clock.now_s();
    this.#drain.drain(ranks, timestamp, reason, overwrite ?? 0);
    const idset = ranks.toString();
    const nodelist = hostsOf(ranks, this.#hosts);
    const context = { idset, nodelist, ...(reason !== undefined && { reason }), ...(overwrite !== undefined && { overwrite }) };
    const { stored } = this.journal.post("drain", context, timestamp);
    this.#changed();
    await stored;
    this.#h.log(LOG_INFO, `drain idset=${idset} nodelist=${nodelist} overwrite=${overwrite ?? 0} reason=${reason ?? ""}`);
  }

  async #answerUndrain(req: Request): Promise<void> {
    const { targets, reason, mode: modeName } = req.unpack({ targets: str, reason: opt(str), mode: opt(str) });
    const ranks = this.#targets(targets);
    const mode = parseDrainMode(modeName, `invalid undrain mode '${modeName}' specified`);
    if (mode === "fail") this.#drain.checkUndrain(ranks);
    this.#drain.undrain(ranks);
    const nodelist = hostsOf(ranks, this.#hosts);
    const overwrite = overwriteOf(mode);
    const context = { idset: ranks.toString(), nodelist, overwrite, ...(reason !== undefined && { reason }) };
    const { stored } = this.journal.post("undrain", context);
    this.#changed();
    await stored;
    this.#h.log(LOG_INFO, `undrain idset=${targets} nodelist=${nodelist} overwrite=${overwrite} reason=${reason ?? ""}`);
  }

  async #answerReload(req: Request): Promise<void> {
    const { path, xml, force } = req.unpack({ path: str, xml: bool, force: bool });
    const R = xml ? loadXmlDirectory(path) : loadR(path);
    const { size } = this.#context;
    if ((R.ranks.last ?? 0) >= size) {
      if (!force) throw new FluxError(errno.EINVAL, `resource object contains ranks exceeding size=${size} (override with -f)`);
      this.#h.log(LOG_ERR, `WARN: resource object contains ranks exceeding size=${size}`);
    }
    if (this.#acquire.isOpen) throw new FluxError(errno.EBUSY, "resources are busy (unload scheduler?)");
    this.#define(R, "reload");
    await this.#announce();
  }

  async #answerExpiration(req: Request): Promise<void> {
    const { expiration } = req.unpack({ expiration: num });
    if (expiration < 0) throw new FluxError(errno.EINVAL, `expiration ${expiration} is in the past`);
    await this.#expire(expiration);
  }

  #answerMonitorWaitup(req: Request): void | typeof DEFERRED {
    const { up } = req.unpack({ up: int });
    if (up < 0 || up > this.#context.size) throw new FluxError(errno.EPROTO, "up value is out of range");
    if (this.#online.count >= uint(up, "up")) return;
    this.#waitup.set(req, up);
    req.onCancel(() => this.#waitup.delete(req));
    return DEFERRED;
  }
}

function idset(text: string): IdSet {
  try {
    return IdSet.parse(text);
  } catch (err) {
    throw new FluxError(errno.EPROTO, toFluxError(err).message, { cause: err });
  }
}
