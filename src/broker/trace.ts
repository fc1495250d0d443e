// Tracing of messages (flux module trace, flux overlay trace): a stream of records of what passes modules and links.
// Nothing is looked at unless somebody traces.
//
//   module.trace  { names, typemask, topic_glob, full? }      names: modules, none means all
//   overlay.trace { typemask, topic_glob, nodeid?, full? }
import { realClock } from "../os/clock.ts";
import type { Request } from "../client/request.ts";
import type { Json, JsonObject } from "../formats/json.ts";
import { type Message, MSG_CONTROL, MSG_RESPONSE } from "../message/message.ts";
import { arr, bool, def, int, opt, str } from "../message/unpack.ts";
import type { Passing, Router } from "./router.ts";

const NODEID_NONE = 0xffffffff;
/** Records that one tracer may be sent; a forgotten one must not slow the broker for ever. */
const RECORDS_MAX = 10_000_000;

interface Filter {
  readonly kind: "module" | "overlay";
  readonly names: readonly string[];
  readonly typemask: number;
  readonly topic: RegExp | undefined;
  readonly nodeid: number;
  readonly full: boolean;
  count: number;
}

export class Tracer {
  readonly #router: Router;
  readonly #requests = new Map<Request, Filter>();

  constructor(router: Router) {
    this.#router = router;
  }

  /** Answers a trace request with records until it is cancelled. */
  add(kind: Filter["kind"], req: Request): void {
    req.requireStreaming();
    const wanted = req.unpack({ names: opt(arr(str)), typemask: int, topic_glob: str, nodeid: def(int, -1), full: def(bool, false) });
    const topic = wanted.topic_glob === "" || wanted.topic_glob === "*" ? undefined : globPattern(wanted.topic_glob);
    this.#requests.set(req, { kind, names: wanted.names ?? [], typemask: wanted.typemask, topic, nodeid: wanted.nodeid, full: wanted.full, count: 0 });
    req.onCancel(() => this.#remove(req));
    this.#router.tap = (passing) => this.#record(passing);
  }

  #remove(req: Request): void {
    this.#requests.delete(req);
    if (this.#requests.size === 0) this.#router.tap = undefined;
  }

  #record(passing: Passing): void {
    const { message } = passing;
    if (message.topic === "module.trace" || message.topic === "overlay.trace") return;
    for (const [req, filter] of this.#requests) {
      if (!matches(filter, passing)) continue;
      req.respond(record(passing, filter.full));
      if (++filter.count < RECORDS_MAX) continue;
      this.#remove(req);
      req.finish();
    }
  }
}

function matches(filter: Filter, { message, module, rank }: Passing): boolean {
  if ((message.type & filter.typemask) === 0) return false;
  if (filter.topic !== undefined && !filter.topic.test(message.topic ?? "")) return false;
  if (filter.kind === "module") return module !== undefined && (filter.names.length === 0 || filter.names.includes(module));
  return rank !== undefined && (filter.nodeid === -1 || filter.nodeid === rank);
}

function record({ direction, message, module, rank }: Passing, full: boolean): JsonObject {
  const errnum = message.type === MSG_RESPONSE ? message.errnum : 0;
  return {
    timestamp: realClock.now_s(),
    prefix: direction,
    rank: rank ?? NODEID_NONE,
    name: module ?? null,
    type: message.type,
    topic: message.type === MSG_CONTROL ? "" : (message.topic ?? ""),
    payload_size: errnum === 0 ? (message.bytes?.length ?? 0) : 0,
    payload: full && errnum === 0 ? payloadOf(message) : null,
    errnum,
    errstr: full && errnum !== 0 ? (message.text ?? "") : "",
  };
}

function payloadOf(message: Message): Json {
  if (!message.hasPayload) return null;
  try {
    return message.payload;
  } catch {
    return null; // plain bytes, which a record cannot show
  }
}

/** A glob of * and ? as a pattern. */
function globPattern(glob: string): RegExp {
  const escaped = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".");
  return new RegExp(`^${escaped}$`, "s");
}
