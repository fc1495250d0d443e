// Trace: FLUX_HANDLE_TRACE lets a program print what it sends to its broker (>, of requests) and gets (<; e: events) on stderr.
//
//   --------------------------------------
//   > 0.00012                                   seconds since it connected
//   > attr.get
//   > flags=topic,payload,route userid=unknown rolemask=none nodeid=any matchtag=1
//   > {"name":"rank"}
import { encodeJson } from "../formats/json.ts";
import { type Message, MSG_CONTROL, MSG_EVENT, MSG_REQUEST, MSG_RESPONSE, NODEID_ANY } from "../message/message.ts";
import { ROLE_ADMIN, ROLE_ALL, ROLE_LOCAL, ROLE_NONE, ROLE_OWNER, ROLE_USER, USERID_UNKNOWN } from "../message/roles.ts";
import type { Link } from "./link.ts";

const SIGNS: Readonly<Record<number, string>> = { [MSG_REQUEST]: ">", [MSG_RESPONSE]: "<", [MSG_EVENT]: "e", [MSG_CONTROL]: "c" };
/** By bit, from the lowest. */
const FLAG_NAMES = ["topic", "payload", "noresponse", "route", "upstream", "private", "streaming", "user1"];
const ROLE_NAMES: readonly (readonly [number, string])[] = [[ROLE_OWNER, "owner"], [ROLE_USER, "user"], [ROLE_LOCAL, "local"], [ROLE_ADMIN, "admin"]];
/** Of a payload that isn't JSON. */
const BYTES_SHOWN = 37;

/** The link itself unless the environment asks for a trace. */
export function withTrace(link: Link, env: Readonly<Record<string, string | undefined>>, write: (text: string) => void, now_ms: () => number): Link {
  if (env["FLUX_HANDLE_TRACE"] === undefined) return link;
  const start_ms = now_ms();
  const show = (message: Message): void => write(describe(message, (now_ms() - start_ms) / 1000));
  return {
    start(receive, closed) {
      link.start((message) => {
        show(message);
        receive(message);
      }, closed);
    },
    send(message) {
      show(message);
      link.send(message);
    },
    get queued_bytes() {
      return link.queued_bytes;
    },
    drained: () => link.drained(),
    close: () => link.close(),
  };
}

function describe(message: Message, time_s: number): string {
  const lines = [time_s.toFixed(5), ...(message.topic === undefined ? [] : [message.topic]), header(message)];
  const { routes = [] } = message;
  if (routes.length > 0) lines.push(`|${routes.join("!")}|`);
  if (message.hasPayload) lines.push(payload(message));
  const sign = SIGNS[message.type] ?? "?";
  return `--------------------------------------\n${lines.map((line) => `${sign} ${line}\n`).join("")}`;
}

function header(message: Message): string {
  const { userid, aux1, aux2 } = message;
  const flags = FLAG_NAMES.filter((_, bit) => (message.flags & (1 << bit)) !== 0).join(",");
  const head = `flags=${flags} userid=${userid === USERID_UNKNOWN ? "unknown" : userid} rolemask=${roles(message.rolemask)}`;
  switch (message.type) {
    case MSG_REQUEST:
      return `${head} nodeid=${aux1 === NODEID_ANY ? "any" : aux1} matchtag=${aux2}`;
    case MSG_RESPONSE:
      return `${head} errnum=${aux1} matchtag=${aux2}`;
    case MSG_EVENT:
      return `${head} sequence=${aux1}`;
    default:
      return `${head} type=${aux1} status=${aux2}`;
  }
}

function roles(rolemask: number): string {
  if (rolemask === ROLE_NONE) return "none";
  if (rolemask === ROLE_ALL) return "all";
  const names = ROLE_NAMES.filter(([role]) => (rolemask & role) !== 0);
  const others = names.reduce((rest, [role]) => rest & ~role, rolemask) >>> 0;
  return [...names.map(([, name]) => name), ...(others === 0 ? [] : [`0x${others.toString(16)}`])].join(",");
}

function payload(message: Message): string {
  try {
    return encodeJson(message.payload);
  } catch {
    const { bytes = new Uint8Array(), text = "" } = message;
    if (bytes.at(-1) === 0) return text;
    const hex = Buffer.from(bytes.subarray(0, BYTES_SHOWN)).toString("hex").toUpperCase();
    return bytes.length > BYTES_SHOWN ? `${hex}...` : hex;
  }
}
