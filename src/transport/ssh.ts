// ssh://[USER@]HOST[:PORT]/PATH: a broker's local socket on another host. ssh(1) runs `flux relay PATH` there, which passes bytes
// between the socket and the connection: what is spoken is RFC 3 framing, as on the socket itself.
//
//   FLUX_SSH        the program to run instead of ssh
//   FLUX_SSH_RCMD   the flux of the other side; by default it is looked for beside its broker's socket, where ours is, and in /usr/bin
import { dirname } from "node:path";
import { FormatError } from "../formats/error.ts";
import { quoteWord } from "../formats/shell-words.ts";
import { type FluxUri, parseUri } from "../formats/uri.ts";
import { errno, FluxError, strerror, toFluxError } from "../message/errno.ts";
import { binDirectory } from "../os/self.ts";
import { type Child, findProgram, spawnProcess } from "../os/spawn.ts";
import type { Link } from "./link.ts";
import { streamSocket } from "./stream-socket.ts";
import { type ByteSocket, UnixLink } from "./unix.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** What ^C and ^Z at the terminal mean decides the program that uses the connection, not ssh. A password may still be asked for. */
const DEAF_TO_TERMINAL = 'trap "" INT QUIT TSTP; exec "$@"';
const UNCLEAN = "Unable to establish clean ssh connection.\nHint: Check that shell init files do not write to stdout when non-interactive.";
/** What ssh says before we know whether it works; more is dropped. */
const STDERR_MAX_BYTES = 64 << 10;

/** Throws FluxError EINVAL for another kind of URI, ENOENT without ssh, ECONNRESET with what ssh or the other side has to say. */
export async function connectSsh(uri: string, env: Environment = process.env): Promise<Link> {
  const argv = sshCommand(sshUri(uri), env);
  const program = argv[0] ?? "";
  try {
    findProgram(program, env["PATH"], process.cwd());
  } catch (err) {
    const { errno: number } = toFluxError(err);
    throw new FluxError(number, `ssh-connector: ${program}: ${strerror(number)}\nHint: set FLUX_SSH in environment to override`);
  }
  return overProgram(["/bin/sh", "-c", DEAF_TO_TERMINAL, "sh", ...argv], env);
}

function sshUri(text: string): FluxUri {
  let uri: FluxUri;
  try {
    uri = parseUri(text);
  } catch (err) {
    if (err instanceof FormatError) throw new FluxError(errno.EINVAL, err.message);
    throw err;
  }
  const { host, path, query } = uri;
  if (host === undefined || host.startsWith("-") || uri.user?.startsWith("-") === true || !path.startsWith("/") || query.size > 0) {
    throw new FluxError(errno.EINVAL, `malformed URI '${text}': expected ssh://[USER@]HOST[:PORT]/path/to/socket`);
  }
  return uri;
}

/** The words of ssh's command line. */
export function sshCommand({ user, host, port, path }: FluxUri, env: Environment): string[] {
  const { FLUX_SSH: ssh = "ssh", FLUX_SSH_RCMD: flux, LD_LIBRARY_PATH: libraries } = env;
  const settings: string[] = [];
  if (flux === undefined) {
    const ours = binDirectory();
    const places = [`${dirname(path)}/bin`, ...(ours === undefined ? [] : [ours]), "/bin", "/usr/bin"];
    settings.push(`PATH=${places.join(":")}`);
  }
  if (libraries !== undefined) settings.push(`LD_LIBRARY_PATH=${libraries}`);
  const remote = [...(settings.length > 0 ? ["env", ...settings] : []), flux ?? "flux", "relay", path];
  return [
    ssh,
    ...(port === undefined ? [] : ["-p", String(port)]),
    `${user === undefined ? "" : `${user}@`}${host ?? ""}`,
    ...remote.map((word) => quoteWord(word)), // The other side's shell reads them.
  ];
}

function overProgram(argv: readonly string[], env: Environment): Promise<Link> {
  const { promise, resolve, reject } = Promise.withResolvers<Link>();
  let answer: "none" | "welcome" | "other" = "none";
  let said: Uint8Array[] | undefined = [];
  let said_bytes = 0;
  const child = spawnProcess({
    argv,
    env,
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    onStdout(chunk) {
      if (answer === "welcome") return link.handleData(chunk);
      if (answer === "none") answer = chunk[0] === 0 ? "welcome" : "other";
      if (answer === "other") return link.destroy(undefined); // Not from a relay. What is said on stderr follows.
      for (const text of said ?? []) process.stderr.write(text);
      said = undefined;
      resolve(link);
      if (chunk.length > 1) link.handleData(chunk.subarray(1));
    },
    onStdoutEnd: () => link.handleClose(new FluxError(errno.ECONNRESET, "lost the connection to the Flux broker")),
    onStderr(chunk) {
      if (said === undefined) process.stderr.write(chunk);
      else if (said_bytes < STDERR_MAX_BYTES) said.push(chunk);
      said_bytes += chunk.length;
    },
  });
  const link = new UnixLink(socketOf(child, () => link.handleDrain()));
  void child.exited.then(() => {
    if (answer === "welcome") return;
    const text = Buffer.concat(said ?? []).toString().trim();
    reject(new FluxError(errno.ECONNRESET, text === "" ? UNCLEAN : text));
  });
  return promise;
}

/** ssh's stdin, as the link writes to it. */
function socketOf(child: Child, drained: () => void): ByteSocket {
  const { stdin } = child;
  if (stdin === undefined) throw new FluxError(errno.EBADF, "ssh was started without a stdin");
  return streamSocket(stdin, drained, () => child.kill("SIGTERM"));
}
