// flux proxy: a shell, or a command, that speaks to another instance, through a socket of its own.
//
// All connections to the socket share one to the instance's broker (proxy-router.ts), which may be slow to make, or ask for a password.
import { randomUUID } from "node:crypto";
import { OWNER_ONLY } from "../broker/access.ts";
import { listenLocal } from "../broker/connector-local.ts";
import { Flux } from "../client/flux.ts";
import { parseUri } from "../formats/uri.ts";
import { FluxError } from "../message/errno.ts";
import { getuid } from "../os/credentials.ts";
import { saveTerminal } from "../os/foreground.ts";
import { shellExitCode } from "../formats/waitstatus.ts";
import { type Child, spawnProcess } from "../os/spawn.ts";
import { makeTemporaryDirectory, removeDirectory } from "../os/tmpdir.ts";
import type { Link } from "../transport/link.ts";
import { openLink } from "../transport/open.ts";
import { FLUX_VERSION } from "../version.ts";
import { defineCommand, flag, UsageError } from "./command.ts";
import { reachableUri, resolveInstance } from "./instance-uri.ts";
import { printError, wrongUsage } from "./output.ts";
import { ProxyRouter } from "./proxy-router.ts";

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
  flux proxy ƒ2d4mS3y flux jobs     one command
  flux proxy ssh://host2/run/flux/local`,
  options: {
    force: flag("-f, --force", "connect to a broker of another version, too"),
    nohup: flag("-n, --nohup", "leave the command alone when the connection is lost"),
    reconnect: flag("--reconnect", "when the connection is lost, try again every two seconds"),
  },
  async run({ options, args }) {
    const [target, ...command] = args;
    if (target === undefined) throw wrongUsage("flux proxy [OPTIONS] JOBID|URI [COMMAND...]");
    const uri = reachableUri(await resolved(target));
    const link = await openOrSay(uri);
    const router = new ProxyRouter(getuid());
    const directory = makeTemporaryDirectory("flux-proxy-");
    const clients = listenLocal({
      path: `${directory}/local`,
      router,
      owner: getuid(),
      newId: randomUUID,
      access: () => OWNER_ONLY,
      log: (_, text) => printError(`flux-proxy: ${text}\r`),
    });
    const connection = new Connection(uri, router, options);
    const restoreTerminal = saveTerminal();
    try {
      connection.use(link);
      await checkVersion(router.h, options.force);
      const child = spawnShell(command, `local://${directory}/local`, uri);
      connection.watch(child, () => clients.close());
      const { status } = await child.exited;
      return shellExitCode(status);
    } finally {
      restoreTerminal();
      clients.close();
      connection.close();
      removeDirectory(directory);
    }
  },
});

async function openOrSay(uri: string): Promise<Link> {
  try {
    return await openLink(uri);
  } catch (err) {
    if (err instanceof FluxError) throw new UsageError(`${uri}: ${err.message}`);
    throw err;
  }
}

async function resolved(target: string): Promise<string> {
  try {
    return await resolveInstance(target, () => Flux.open());
  } catch (err) {
    if (!(err instanceof UsageError)) throw err;
    throw new UsageError(`Unable to resolve ${target} to a URI: ${err.message}`, err.exitCode);
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

/** `target` is where the proxy leads to: on another host, what is on "this host" there is not where its URI says (see Flux.attr). */
function spawnShell(command: readonly string[], uri: string, target: string): Child {
  const shell = process.env["SHELL"] ?? "/bin/sh";
  for (const signal of TERMINAL_SIGNALS) process.on(signal, () => {});
  const child = spawnProcess({
    argv: command.length === 0 ? [shell] : [shell, "-c", command.join(" ")],
    env: { ...process.env, FLUX_URI: uri, FLUX_PROXY_REMOTE: parseUri(target).scheme === "ssh" ? authority(target) : undefined },
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  });
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => child.kill(signal));
  return child;
}

/** [USER@]HOST[:PORT] */
function authority(uri: string): string {
  return /^ssh:\/\/([^/?]*)/.exec(uri)?.[1] ?? "";
}

/** What becomes of the command when the connection is lost. */
class Connection {
  readonly #uri: string;
  readonly #router: ProxyRouter;
  readonly #reconnect: boolean;
  readonly #nohup: boolean;
  #child: Child | undefined;
  #isOver = false;
  #isComingBack = false;
  #closeClients: () => void = () => {};

  constructor(uri: string, router: ProxyRouter, { reconnect, nohup }: { reconnect: boolean; nohup: boolean }) {
    this.#uri = uri;
    this.#router = router;
    this.#reconnect = reconnect;
    this.#nohup = nohup;
  }

  use(link: Link): void {
    this.#router.connect(link, (reason) => this.#lost(reason));
  }

  watch(child: Child, closeClients: () => void): void {
    this.#child = child;
    this.#closeClients = closeClients;
    void child.reaped.then(() => (this.#isOver = true));
  }

  close(): void {
    this.#isOver = true;
    this.#router.close();
  }

  #lost(reason: FluxError | undefined): void {
    if (this.#isOver || this.#isComingBack) return;
    if (this.#reconnect) {
      printError(`flux-proxy: broker: ${reason?.message ?? "the connection was closed"}\r\nflux-proxy: reconnecting\r`);
      void this.#comeBack();
      return;
    }
    printError("flux-proxy: Lost connection to Flux\r");
    this.#closeClients();
    if (this.#nohup) return;
    printError("flux-proxy: Sending SIGHUP to child processes\r");
    this.#child?.kill("SIGHUP");
    this.#child?.kill("SIGCONT");
  }

  async #comeBack(): Promise<void> {
    this.#isComingBack = true;
    while (!this.#isOver && this.#isComingBack) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref());
      try {
        const link = await openLink(this.#uri);
        if (this.#isOver) return link.close();
        this.use(link);
        await this.#router.h.rpc("state-machine.wait");
        this.#isComingBack = false;
        printError("flux-proxy: reconnected\r");
      } catch (err) {
        if (!(err instanceof FluxError)) throw err; // Not there yet.
      }
    }
  }
}
