// flux event: publishes and watches events (RFC 3). An event reaches every broker; subscriptions match by prefix.
import type { Flux, FluxEvent } from "../client/flux.ts";
import type { Message } from "../message/message.ts";
import { defineCommand, flag, valueOr } from "./command.ts";
import { explain, withFlux } from "./connect.ts";
import { integer } from "./options.ts";
import { print, wrongUsage } from "./output.ts";

const pub = defineCommand({
  name: "pub",
  style: "getopt",
  summary: "publish an event",
  usage: "[OPTIONS] topic [payload]",
  options: {
    raw: flag("-r, --raw", "the payload is text and not JSON"),
    synchronous: flag("-s, --synchronous", "wait until the event has its sequence number, and print it"),
    loopback: flag("-l, --loopback", "wait until the event comes back"),
    private: flag("-p, --private", "only this user and the instance owner may see it"),
  },
  async run({ options, args }) {
    const [topic, ...words] = args;
    if (topic === undefined) throw wrongUsage("flux event pub [OPTIONS] topic [payload]");
    const payload = words.length === 0 ? undefined : Buffer.from(options.raw ? words.join(" ") : `${words.join(" ")}\0`);
    return withFlux(async (h) => {
      const seen = options.loopback ? await awaitEvent(h, topic, payload) : undefined;
      if (options.synchronous) {
        print(`seq=${await explain("publish failed", h.publishSequenced(topic, payload, { private: options.private }))}`);
      } else {
        h.publish(topic, payload, { private: options.private });
      }
      await seen?.arrived;
      return 0;
    });
  },
});

/** Subscribes now; `arrived` resolves when the event with this topic and payload comes. */
async function awaitEvent(h: Flux, topic: string, payload: Uint8Array | undefined): Promise<{ arrived: Promise<void> }> {
  const arrived = Promise.withResolvers<void>();
  const expected = payload ?? new Uint8Array(0);
  await explain(
    "flux_event_subscribe",
    h.subscribe(topic, (event) => {
      if (event.topic === topic && Buffer.compare(event.message.bytes ?? new Uint8Array(0), expected) === 0) arrived.resolve();
    }),
  );
  h.onClose((reason) => arrived.reject(reason ?? new Error("the handle was closed")));
  return { arrived: arrived.promise };
}

const sub = defineCommand({
  name: "sub",
  style: "getopt",
  summary: "print events as they come",
  usage: "[OPTIONS] [topic...]",
  options: {
    count: valueOr("-c, --count N", "end after N events", integer(0), 0),
    raw: flag("-r, --raw", "payloads are text and not JSON"),
  },
  async run({ options, args }) {
    return withFlux(async (h) => {
      const done = Promise.withResolvers<void>();
      let count = 0;
      const show = ({ topic, message }: FluxEvent): void => {
        if (options.count > 0 && count >= options.count) return;
        print(`${topic}\t${payloadText(message)}`);
        if (++count === options.count) done.resolve();
      };
      h.onClose((reason) => (reason === undefined ? done.resolve() : done.reject(reason)));
      const topics = args.length === 0 ? [""] : args;
      const subscriptions = await Promise.all(topics.map((topic) => explain(topic, h.subscribe(topic, show))));
      await done.promise;
      await Promise.all(subscriptions.map((s) => s.unsubscribe()));
      return 0;
    });
  },
});

function payloadText(message: Message): string {
  return message.hasPayload ? (message.text ?? "") : "";
}

export default defineCommand({
  name: "event",
  style: "getopt",
  summary: "publish and watch events",
  subcommands: [pub, sub],
});
