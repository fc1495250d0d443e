// flux relay: the far end of an ssh:// connection (transport/ssh.ts). Passes bytes between stdin, stdout and a broker's local socket.
//
// The broker's welcome, a zero byte, is passed on as well. A refusal is not: it becomes a line on stderr, which ssh takes to the user.
import { createConnection, type Socket } from "node:net";
import { errno, errnoNumber, FluxError, strerror } from "../message/errno.ts";
import { hostname } from "../os/hostname.ts";
import { defineCommand, UsageError } from "./command.ts";
import { printError, wrongUsage } from "./output.ts";

export default defineCommand({
  name: "relay",
  style: "getopt",
  summary: "pass messages between stdin, stdout and a broker's socket",
  usage: "PATH",
  details: `Pass messages between stdin and stdout and the broker whose local socket is PATH, until either side ends.
Connections to ssh:// URIs run this on the other host.

Example:
  ssh host2 flux relay /run/flux/local`,
  async run({ args }) {
    const [path] = args;
    if (path === undefined || args.length !== 1) {
      if (path === undefined) printError("flux relay: path argument is required");
      throw wrongUsage("flux relay PATH");
    }
    try {
      await relay(path);
    } catch (err) {
      if (!(err instanceof FluxError)) throw err;
      printError(`${hostname()}: local://${path}: ${strerror(err.errno)}`);
      throw new UsageError("");
    }
    return 0;
  },
});

/** Throws FluxError when the broker can't be reached or doesn't let us in. */
async function relay(path: string): Promise<void> {
  const broker = createConnection(path);
  const { stdin, stdout } = process;
  stdout.on("error", () => broker.destroy()); // Nobody reads any more.
  const welcome = await firstBytes(broker);
  stdout.write(welcome);
  const ended = new Promise<void>((resolve) => broker.once("close", resolve));
  broker.on("error", () => {}); // Its close follows.
  broker.pipe(stdout, { end: false });
  stdin.pipe(broker);
  await ended;
  stdin.destroy();
}

function firstBytes(broker: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const lost = (err?: NodeJS.ErrnoException): void => reject(new FluxError(errnoNumber(err?.code ?? "") ?? errno.ECONNRESET));
    broker.once("error", lost);
    broker.once("close", () => lost());
    broker.once("data", (chunk: Buffer) => {
      broker.pause();
      broker.removeListener("error", lost);
      const [code = 0] = chunk;
      if (code === 0) return resolve(chunk);
      broker.destroy();
      reject(new FluxError(code));
    });
  });
}
