// The lines of `flux module trace`: one a message that a module sends or receives ("module.trace" streams them).
import type { Flux } from "../client/flux.ts";
import { errnoName } from "../message/errno.ts";
import { MSG_CONTROL, MSG_EVENT, MSG_REQUEST, MSG_RESPONSE } from "../message/message.ts";
import { int, num, opt, str, uint, unpack } from "../message/unpack.ts";
import { UsageError } from "./command.ts";
import { explained } from "./connect.ts";
import { humanTimes, isoTime } from "./human-time.ts";
import { COLOR, print, wantsColor } from "./output.ts";

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

/** Prints until the stream or the process ends. */
export async function traceModules(h: Flux, names: readonly string[], options: TraceOptions): Promise<number> {
  if (options.delta && !options.human) throw new UsageError("--delta can only be used with --human");
  const request = { typemask: typeMask(options.type), topic_glob: options.topic ?? "*", names, full: options.full };
  const color = wantsColor(options.color);
  const paint = (code: string, text: string): string => (color ? `${code}${text}${COLOR.reset}` : text);
  const times = humanTimes(options.delta);
  const width = Math.max(0, ...names.map((n) => n.length));
  try {
    for await (const payload of h.stream("module.trace", request)) {
      const { timestamp, text, code } = describe(payload, width);
      const time = options.human ? times(timestamp) : { text: isoTime(timestamp, 3, false), isBreak: false };
      const stamp = paint(time.isBreak ? COLOR.bold + COLOR.green : COLOR.green, time.text);
      print(`${stamp} ${options.human ? " " : ""}${paint(code, text)}`);
    }
  } catch (err) {
    throw explained("module.trace", err, true);
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

function describe(payload: Parameters<typeof unpack>[0], width: number): { timestamp: number; text: string; code: string } {
  const entry = unpack(payload, {
    timestamp: num,
    prefix: str,
    name: str,
    type: int,
    topic: str,
    payload_size: uint,
    errnum: opt(int),
    errstr: opt(str),
  });
  const errnum = entry.errnum ?? 0;
  const result = entry.type !== MSG_RESPONSE ? "" : ` ${errnum === 0 ? "success" : (errnoName(errnum) ?? `errno ${errnum}`)}`;
  const head = `${entry.name.padStart(width)} ${entry.prefix} ${SIGNS[entry.type] ?? "?"} ${entry.topic} [${sizeText(entry.payload_size)}]${result}`;
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
