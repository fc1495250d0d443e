// The command object of RFC 42.
import type { JsonObject } from "../formats/json.ts";
import { errno, FluxError } from "../message/errno.ts";
import { arr, def, dict, opt, str, unpack } from "../message/unpack.ts";

export interface RemoteCommand {
  readonly argv: readonly string[];
  /** {} stands for the server's own. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | undefined;
  readonly opts: Readonly<Record<string, string>>;
  readonly channels: readonly string[];
  readonly label: string | undefined;
  /** As it came. */
  readonly source: JsonObject;
}

/** Channels of one process. */
const CHANNELS_MAX = 64;

/** Throws FluxError EPROTO. */
export function parseCommand(cmd: JsonObject): RemoteCommand {
  const { cmdline, env, cwd, opts, channels, label } = unpack(cmd, {
    cmdline: arr(str),
    env: def(dict(str), {}),
    cwd: opt(str),
    opts: def(dict(str), {}),
    channels: def(arr(str), []),
    label: opt(str),
  });
  if (cmdline.length === 0) throw new FluxError(errno.EPROTO, "command string is empty");
  if (label === "") throw new FluxError(errno.EPROTO, "error parsing command string");
  if (channels.length > CHANNELS_MAX) throw new FluxError(errno.EPROTO, `more than ${CHANNELS_MAX} channels`);
  return { argv: cmdline, env, cwd, opts, channels, label, source: cmd };
}
