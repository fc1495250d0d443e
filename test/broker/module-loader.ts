// A loader for tests (RFC 5): a module in a process of its own. Its first argument says how it behaves; NAME.hello answers with
// what it was told, NAME.die ends it without a word, NAME.hang-up closes its connection and goes on.
import { spawn } from "node:child_process";
import { constants } from "node:os";
import { openFdStream } from "../../src/os/fd-stream.ts";
import { type Message, MSG_REQUEST, requestMessage, responseMessage } from "../../src/message/message.ts";
import { streamSocket } from "../../src/transport/stream-socket.ts";
import { UnixLink } from "../../src/transport/unix.ts";

let begun = false;
let how: string | undefined;
let welcome: Record<string, unknown> | undefined;
/** It goes on without its connection. */
let hungUp = false;

const stream = openFdStream(3, {
  onData(chunk) {
    link.handleData(begun ? chunk : chunk.subarray(1));
    begun = true;
  },
  onClose: () => (hungUp ? setInterval(() => undefined, 1000) : process.exit(0)),
});
const link: UnixLink = new UnixLink(streamSocket(stream, () => link.handleDrain(), () => process.exit(1)));

const status = (payload: Record<string, number>): void =>
  link.send(requestMessage("module.status", payload, { matchtag: 7, noResponse: payload["status"] !== 2 }));

async function exit(errnum: number): Promise<void> {
  status({ status: 3, errnum });
  if (welcome?.["holder"] !== undefined) return void setImmediate(() => process.exit(0)); // The connection goes with its last holder.
  link.close();
  await stream.closed;
}

function begin({ payload }: Message): void {
  welcome = { ...payload, attrs: undefined };
  [how] = payload["args"] as string[];
  if (how === "silent") process.exit(0);
  if (how === "crash") process.kill(process.pid, "SIGSEGV");
  if (how === "code") process.exit(200);
  if (how === "holder") welcome["holder"] = spawn("sleep", ["60"], { detached: true, stdio: ["ignore", "ignore", "ignore", 3] }).pid;
  if (how === "refuse") return void exit(constants.errno.EEXIST);
  status({ status: 1 });
}

link.start(
  (message) => {
    if (welcome === undefined) return begin(message);
    if (message.type !== MSG_REQUEST) return void exit(0);
    if (message.topic === `${String(welcome["name"])}.shutdown`) return how === "deaf" ? undefined : status({ status: 2 });
    if (message.topic?.endsWith(".die") === true) process.exit(9);
    if (message.topic?.endsWith(".config-reload") === true) return; // It never answers this.
    if (message.topic?.endsWith(".hang-up") === true) {
      hungUp = true;
      process.on("SIGTERM", () => undefined);
      return stream.destroy();
    }
    link.send(responseMessage(message, { welcome } as never));
  },
  () => {},
);
