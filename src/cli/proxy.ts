// flux proxy: a shell, or a command, that speaks to another instance, through a socket of its own.
//
// Each connection to the socket becomes one to the instance's broker, and bytes pass both ways as they are: the broker sees clients
// that it knows. A handle of our own tells when the instance has gone.
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { Flux } from "../client/flux.ts";
import { localPath } from "../formats/uri.ts";
import { FluxError } from "../message/errno.ts";
import { saveTerminal } from "../os/foreground.ts";
import { shellExitCode } from "../os/signals.ts";
import { type Child, spawnProcess } from "../os/spawn.ts";
import { makeTemporaryDirectory, removeDirectory } from "../os/tmpdir.ts";
import { FLUX_VERSION } from "../version.ts";
import { defineCommand, flag, UsageError } from "./command.ts";
import { reachableUri, resolveInstance } from "./instance-uri.ts";
import { printError, wrongUsage } from "./output.ts";

const RETRY_MS = 2000;
/** What the terminal sends to the command as well: the command decides what comes of it. */
const TERMINAL_SIGNALS = ["SIGINT", "SIGQUIT", "SIGTSTP"] as const;

export default defineCommand({
  name: "proxy",
  style: "getopt",
  summary: "run a shell or a command in another instance",
  usage: "[OPTIONS] JOBID|URI [COMMAND...]",
  passThrough: true,
  details: `Run a shell, or COMMAND, in which Flux commands speak to the instance that JOBID or URI means (see flux help uri).

Examples:
  flux proxy ƒ2d4mS3y               a shell
  flux proxy ƒ2d4mS3y flux jobs     one command`,
  options: {
    force: flag("-f, --force", "connect to a broker of another version, too"),
    nohup: flag("-n, --nohup", "leave the command alone when the connection is lost"),
    reconnect: flag("--reconnect", "when the connection is lost, try again every two seconds"),
  },
  async run({ options, args }) {
    const [target, ...command] = args;
    if (target === undefined) throw wrongUsage("flux proxy [OPTIONS] JOBID|URI [COMMAND...]");
    const uri = reachableUri(await resolveInstance(target, () => Flux.open()));
    const h = await openOrSay(uri);
    await checkVersion(h, options.force);
    const directory = makeTemporaryDirectory("flux-proxy-");
    const relay = await startRelay(`${directory}/local`, localPath(uri));
    const restoreTerminal = saveTerminal();
    try {
      const child = spawnShell(command, `local://${directory}/local`);
      watchConnection(h, uri, child, options);
      const { status } = await child.exited;
      return shellExitCode(status);
    } finally {
      restoreTerminal();
      relay.stop();
      h.close();
      removeDirectory(directory);
    }
  },
});

async function openOrSay(uri: string): Promise<Flux> {
  try {
    return await Flux.open(uri);
  } catch (err) {
    if (err instanceof FluxError) throw new UsageError(`${uri}: ${err.message}`);
    throw err;
  }
}

/** The first two parts of the versions must be the same. */
async function checkVersion(h: Flux, force: boolean): Promise<void> {
  const version = await h.attr("version");
  const start = (text: string): string => text.split(".").slice(0, 2).join(".");
  if (start(version) === start(FLUX_VERSION)) return;
  const text = `proxy version ${FLUX_VERSION} may not interoperate with broker version ${version}`;
  if (!force) throw new UsageError(`fatal: ${text} (--force to connect anyway)`);
  printError(`flux-proxy: warning: ${text}`);
}

function spawnShell(command: readonly string[], uri: string): Child {
  const shell = process.env["SHELL"] ?? "/bin/sh";
  for (const signal of TERMINAL_SIGNALS) process.on(signal, () => {});
  const child = spawnProcess({
    argv: command.length === 0 ? [shell] : [shell, "-c", command.join(" ")],
    env: { ...process.env, FLUX_URI: uri },
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  });
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  return child;
}

function watchConnection(h: Flux, uri: string, child: Child, { nohup, reconnect }: { nohup: boolean; reconnect: boolean }): void {
  let over = false;
  void child.reaped.then(() => (over = true));
  h.onClose((reason) => {
    if (over) return;
    if (reconnect) {
      printError(`flux-proxy: broker: ${reason?.message ?? "the connection was closed"}\r\nflux-proxy: reconnecting\r`);
      void comeBack(uri, () => over, (again) => watchConnection(again, uri, child, { nohup, reconnect }));
      return;
    }
    printError("flux-proxy: Lost connection to Flux\r");
    if (nohup) return;
    printError("flux-proxy: Sending SIGHUP to child processes\r");
    child.kill("SIGHUP");
    child.kill("SIGCONT");
  });
}

async function comeBack(uri: string, isOver: () => boolean, found: (h: Flux) => void): Promise<void> {
  while (!isOver()) {
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
    try {
      const h = await Flux.open(uri);
      await h.rpc("state-machine.wait");
      printError("flux-proxy: reconnected\r");
      return found(h);
    } catch (err) {
      if (!(err instanceof FluxError)) throw err; // Not there yet.
    }
  }
}

interface Relay {
  stop(): void;
}

async function startRelay(path: string, targetPath: string): Promise<Relay> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((client) => {
    const broker = createConnection(targetPath);
    for (const [from, to] of [[client, broker], [broker, client]] as const) {
      sockets.add(from);
      from.on("error", () => to.destroy()); // Either end going away is the end of both.
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  });
  return {
    stop() {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
