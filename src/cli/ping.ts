// flux ping: round trips to a service ("SERVICE.ping": any payload comes back with the route it took).
import type { Flux } from "../client/flux.ts";
import { NODEID_ANY } from "../message/message.ts";
import { int, str, uint, unpack } from "../message/unpack.ts";
import { defineCommand, flag, text, UsageError, valueOr } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { integer, seconds } from "./options.ts";
import { print, wrongUsage } from "./output.ts";

/** Round trips that --batch may have under way. */
const BATCH_MAX = 100_000;

interface Target {
  /** Undefined: the nearest broker that has the service; "upstream": one above ours. */
  readonly nodeid: number | "upstream" | undefined;
  readonly service: string;
  readonly header: string;
}

interface Plan extends Target {
  readonly pad: string;
  readonly userid: boolean;
}

export default defineCommand({
  name: "ping",
  style: "getopt",
  summary: "measure the round trip to a service",
  usage: "[OPTIONS] TARGET",
  options: {
    rank: text("-r, --rank RANK", "find the target on this broker"),
    pad: valueOr("-p, --pad N", "add N bytes to each request", integer(0), 0),
    interval: valueOr("-i, --interval N", "wait so many seconds between requests (default 1)", seconds, 1),
    count: valueOr("-c, --count N", "send N requests and end", integer(0), 0),
    batch: flag("-b, --batch", "send all requests before looking at the answers"),
    userid: flag("-u, --userid", "show as which user and role the request arrived"),
  },
  async run({ options, args }) {
    const [word] = args;
    if (word === undefined || args.length !== 1) throw wrongUsage("flux ping [OPTIONS] TARGET");
    if (options.batch && options.count === 0) throw new UsageError("--batch should only be used with --count");
    if (options.count > BATCH_MAX && options.batch) throw new UsageError(`--batch sends at most ${BATCH_MAX} requests`);
    if (options.rank !== undefined && word.includes("!")) {
      throw new UsageError("--rank and TARGET both try to specify a nodeid");
    }
    return withFlux(async (h) => {
      const target = await findTarget(h, options.rank === undefined ? word : `${options.rank}!${word}`);
      print(target.header);
      const plan = { ...target, pad: "p".repeat(options.pad), userid: options.userid };
      if (options.batch) await pingBatch(h, plan, options.count, options.interval * 1000);
      else await pingInTurn(h, plan, options.count, options.interval * 1000);
      return 0;
    });
  },
});

/** `TARGET` is SERVICE, RANK, HOST, or one of these two, "!" and SERVICE. */
async function findTarget(h: Flux, word: string): Promise<Target> {
  const bang = word.indexOf("!");
  const where = bang < 0 ? word : word.slice(0, bang);
  const node = await findNode(h, where);
  if (node === undefined) {
    if (bang >= 0) throw new UsageError(`invalid nodeid/host: '${where}'`);
    return { nodeid: undefined, service: word, header: `flux-ping any!${word}` };
  }
  const service = bang < 0 ? "broker" : word.slice(bang + 1);
  return { nodeid: node.nodeid, service, header: `flux-ping ${where}!${service}${node.note}` };
}

async function findNode(h: Flux, where: string): Promise<{ nodeid: Target["nodeid"]; note: string } | undefined> {
  if (where === "any") return { nodeid: undefined, note: "" };
  if (where === "upstream") return { nodeid: "upstream", note: "" };
  if (/^\d+$/.test(where) && Number(where) < NODEID_ANY) return { nodeid: Number(where), note: "" };
  const { Hostlist } = await import("../formats/hostlist.ts");
  const rank = Hostlist.parse(await explain("hostlist", h.attr("hostlist"))).find(where);
  return rank < 0 ? undefined : { nodeid: rank, note: ` (rank ${rank})` };
}

async function pingInTurn(h: Flux, plan: Plan, count: number, interval_ms: number): Promise<void> {
  for (let seq = 0; ; seq++) {
    const due_ms = performance.now() + interval_ms;
    await ping(h, plan, seq);
    if (count > 0 && seq + 1 >= count) return;
    await sleep(due_ms - performance.now());
  }
}

async function pingBatch(h: Flux, plan: Plan, count: number, interval_ms: number): Promise<void> {
  const answers: Promise<void>[] = [];
  for (let seq = 0; seq < count; seq++) {
    answers.push(ping(h, plan, seq));
    if (interval_ms > 0) await sleep(interval_ms);
  }
  await Promise.all(answers);
}

async function ping(h: Flux, plan: Plan, seq: number): Promise<void> {
  const sent_ms = performance.now();
  const where = plan.nodeid === undefined ? "" : `${plan.nodeid}!`;
  const sec = Math.floor(sent_ms / 1000);
  const request = { seq, "time.tv_sec": sec, "time.tv_nsec": Math.floor((sent_ms - sec * 1000) * 1e6), pad: plan.pad };
  const payload = await explain(`${where}${plan.service}.ping`, h.rpc(`${plan.service}.ping`, request, await rpcOptions(h, plan)));
  const time_ms = performance.now() - sent_ms;
  const answer = unpack(payload, { seq: uint, pad: str, route: str, userid: int, rolemask: int, rank: uint });
  if (answer.pad !== plan.pad) throw new UsageError(`${where}${plan.service}.ping: padding contents invalid`);
  const user = plan.userid ? ` userid=${answer.userid} rolemask=0x${answer.rolemask.toString(16)}` : "";
  print(
    `${answer.rank}!${plan.service}.ping pad=${plan.pad.length}${user} seq=${answer.seq} time=${time_ms.toFixed(3)} ms (${answer.route})`,
  );
}

async function rpcOptions(h: Flux, { nodeid }: Plan): Promise<{ nodeid?: number; upstreamOf?: number }> {
  if (nodeid === undefined) return {};
  return nodeid === "upstream" ? { upstreamOf: Number(await h.attr("rank")) } : { nodeid };
}

function sleep(ms: number): Promise<void> {
  return ms <= 0 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, ms));
}
