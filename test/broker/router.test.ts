import { expect, test } from "bun:test";
import { parseTopology } from "../../src/broker/overlay/topology.ts";
import { Router } from "../../src/broker/router.ts";
import { errno } from "../../src/message/errno.ts";
import { type Message, requestMessage, responseMessage } from "../../src/message/message.ts";
import { ROLE_OWNER } from "../../src/message/roles.ts";

test("an endpoint that uses too many services is said once, and again for the next endpoint", () => {
  const warnings: string[] = [];
  const router = new Router({ rank: 0, topology: parseTopology("kary:2", 1), owner: 1, warn: (text) => warnings.push(text) });
  const use = (id: string, count: number): void => {
    router.addEndpoint({ id, name: id, userid: 1, rolemask: ROLE_OWNER, mayVanish: true, send: () => {}, failed: () => {} });
    for (let i = 0; i < count; i++) router.fromEndpoint(id, requestMessage(`s${i}.x`, undefined, { matchtag: i + 1 }));
  };
  use("one", 10_000);
  expect(warnings).toEqual([]);
  router.removeEndpoint("one");
  use("two", 10_005);
  use("three", 10_005);
  expect(warnings.map((text) => text.split(" uses over")[0])).toEqual(["two", "three"]);
});

test("a client that goes without a word leaves nobody waiting for its services", () => {
  const router = new Router({ rank: 0, topology: parseTopology("kary:2", 1), owner: 1, warn: () => undefined });
  const answers: Message[] = [];
  const client = (id: string, send: (message: Message) => void): void => router.addEndpoint({ id, name: "client", userid: 1, rolemask: ROLE_OWNER, mayVanish: true, send, failed: () => {} });
  const asked: Message[] = [];
  client("server", (message) => asked.push(message));
  client("asker", (message) => answers.push(message));
  router.addService("shell", "server");
  for (const matchtag of [1, 2, 3]) router.fromEndpoint("asker", requestMessage("shell.attach", undefined, { matchtag }));
  expect(asked.length).toBe(3);
  // The second is answered in time.
  router.fromEndpoint("server", responseMessage(asked[1] as Message, {}));
  router.removeEndpoint("server");
  expect(answers.map((answer) => [answer.matchtag, answer.errnum])).toEqual([[2, 0], [1, errno.ENOSYS], [3, errno.ENOSYS]]);
  // Those of one that has gone itself are forgotten.
  router.removeEndpoint("asker");
  expect(answers.length).toBe(3);
});
