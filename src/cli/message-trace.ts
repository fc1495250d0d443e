// The lines of `flux module trace` and `flux overlay trace`: one a message that a module, or a neighbour in the tree of brokers,
// sends or receives ("module.trace" and "overlay.trace" stream them).
import type { Flux } from "../client/flux.ts";
import type { JsonObject } from "../formats/json.ts";
import { errnoName } from "../message/errno.ts";
import { MSG_CONTROL, MSG_EVENT, MSG_REQUEST, MSG_RESPONSE } from "../message/message.ts";
import { def, fields, int, num, opt, str, uint } from "../message/unpack.ts";
import { flag, optional, text, UsageError } from "./command.ts";
import { explained } from "./connect.ts";
import { humanTimes, isoTime } from "./human-time.ts";
import { COLOR, print, wantsColor } from "./output.ts";

const ENTRY = fields({ timestamp: num, prefix: str, name: opt(str), rank: def(uint, 0), type: int, topic: str, payload_size: uint, errnum: opt(int), errstr: opt(str) });
type Entry = ReturnType<typeof ENTRY>;
/** In place of a rank: all of them. */
const NODEID_ANY = 0xffffffff;

export interface TraceOptions {
  readonly full: boolean;
  readonly topic: string | undefined;
  readonly type: string | undefined;
  readonly color: string | undefined;
  readonly human: boolean;
  readonly delta: boolean;
}

const TYPES: Readonly<Record<string, number>> = { request: MSG_REQUEST, response: MSG_RESPONSE, event: MSG_EVENT, control: MSG_CONTROL };
const SIGNS: Readonly<Record<number, string>> = { [MSG_REQUEST]: ">", [MSG_RESPONSE]: "<", [MSG_EVENT]: "e", [MSG_CONTROL]: "c" };
const COLORS: Readonly<Record<number, string>> = {
  [MSG_REQUEST]: COLOR.boldBlue,
  [MSG_RESPONSE]: COLOR.cyan,
  [MSG_EVENT]: COLOR.yellow,
  [MSG_CONTROL]: COLOR.bold,
};
const FAILED = COLOR.bold + COLOR.red;

/** The options that `module trace` and `overlay trace` have in common. */
export const TRACE_OPTIONS = {
  full: flag("-f, --full", "show payloads"),
  type: text("-t, --type TYPE,...", "only these: request, response, event, control"),
  color: optional("-L, --color [WHEN]", "colours: always (default if WHEN is left out), never or auto (default)", "always"),
  human: flag("-H, --human", "times for people"),
  delta: flag("-d, --delta", "with --human, the time since the message before"),
} as const;

/** Prints what modules send and receive until the stream or the process ends. */
export function traceModules(h: Flux, names: readonly string[], options: TraceOptions): Promise<number> {
  const width = Math.max(0, ...names.map((n) => n.length));
  return trace(h, "module.trace", { names }, options, ({ name, prefix }) => `${(name ?? "").padStart(width)} ${prefix}`);
}

/** The same of messages between this broker and its neighbours, or only one of them. */
export function traceOverlay(h: Flux, rank: number | undefined, options: TraceOptions): Promise<number> {
  return trace(h, "overlay.trace", { nodeid: rank ?? -1 }, options, ({ prefix, rank: peer }) => `${prefix} ${peer === NODEID_ANY ? "*" : peer}`);
}

async function trace(h: Flux, topic: string, target: JsonObject, options: TraceOptions, label: (entry: Entry) => string): Promise<number> {
  if (options.delta && !options.human) throw new UsageError("--delta can only be used with --human");
  const request = { ...target, typemask: typeMask(options.type), topic_glob: options.topic ?? "*", full: options.full };
  const color = wantsColor(options.color);
  const paint = (code: string, text: string): string => (color ? `${code}${text}${COLOR.reset}` : text);
  const times = humanTimes(options.delta);
  try {
    for await (const payload of h.stream(topic, request)) {
      const { timestamp, text: shown, code } = describe(payload, label);
      const time = options.human ? times(timestamp) : { text: isoTime(timestamp, 3, false), isBreak: false };
      const stamp = paint(time.isBreak ? COLOR.bold + COLOR.green : COLOR.green, time.text);
      print(`${stamp} ${options.human ? " " : ""}${paint(code, shown)}`);
    }
  } catch (err) {
    throw explained(topic, err, true);
  }
  return 0;
}

function typeMask(types: string | undefined): number {
  if (types === undefined) return MSG_REQUEST | MSG_RESPONSE | MSG_EVENT | MSG_CONTROL;
  let mask = 0;
  for (const type of types.split(",")) {
    const bit = TYPES[type];
    if (bit === undefined) throw new UsageError("valid types: request, response, event, control");
    mask |= bit;
  }
  return mask;
}

function describe(payload: JsonObject, label: (entry: Entry) => string): { timestamp: number; text: string; code: string } {
  const entry = ENTRY(payload, "record");
  const errnum = entry.errnum ?? 0;
  const result = entry.type !== MSG_RESPONSE ? "" : ` ${errnum === 0 ? "success" : (errnoName(errnum) ?? `errno ${errnum}`)}`;
  const head = `${label(entry)} ${SIGNS[entry.type] ?? "?"} ${entry.topic} [${sizeText(entry.payload_size)}]${result}`;
  const shown = payload["payload"];
  const body = errnum > 0 ? entry.errstr : shown === undefined || shown === null ? undefined : JSON.stringify(shown, null, 2);
  const failed = entry.type === MSG_RESPONSE && errnum > 0;
  return {
    timestamp: entry.timestamp,
    text: body === undefined || body === "" ? head : `${head}\n${body}`,
    code: failed ? FAILED : (COLORS[entry.type] ?? ""),
  };
}

function sizeText(size_bytes: number): string {
  if (size_bytes < 1024) return String(size_bytes);
  const units = ["K", "M", "G"];
  let size = size_bytes / 1024;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${Number(size.toPrecision(4))}${units[unit]}`;
}
