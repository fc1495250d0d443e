// One part that throws must not stop the others.
import { expect, test } from "bun:test";
import { requestMessage } from "../../src/message/message.ts";
import { memoryLinkPair, setReceiverErrorHandler } from "../../src/transport/memory.ts";
import { StateMachine } from "../../src/broker/state-machine.ts";

test("a receiver that throws does not keep messages from others", async () => {
  const uncaught: string[] = [];
  setReceiverErrorHandler((err) => uncaught.push(String(err)));
  const [a, b] = memoryLinkPair();
  const [c, d] = memoryLinkPair();
  const got: string[] = [];
  b.start(
    () => {
      throw new Error("a bug");
    },
    () => {},
  );
  const done = Promise.withResolvers<void>();
  d.start(
    (message) => {
      got.push(message.topic ?? "");
      if (got.length === 2) done.resolve();
    },
    () => {},
  );
  a.send(requestMessage("x.bug", undefined));
  c.send(requestMessage("x.same-batch", undefined));
  setImmediate(() => c.send(requestMessage("x.later", undefined)));
  await done.promise;
  await new Promise((resolve) => setImmediate(resolve));
  setReceiverErrorHandler((err) => {
    throw err;
  });
  expect(got).toEqual(["x.same-batch", "x.later"]);
  expect(uncaught).toEqual(["Error: a bug"]);
});

test("a state machine goes on after an action that throws", async () => {
  const entered: string[] = [];
  const failed: string[] = [];
  const machine = new StateMachine({
    now_ms: () => 0,
    enter: (state) => {
      entered.push(state);
    },
    changed: ({ to }) => {
      if (to === "join") throw new Error("a bug");
    },
    ignored: () => {},
    failed: (state, err) => failed.push(`${state}: ${String(err)}`),
  });
  machine.start();
  machine.post("builtins-success");
  machine.post("parent-none");
  await new Promise((resolve) => setImmediate(resolve));
  expect(machine.state).toBe("config-sync");
  expect(failed).toEqual(["join: Error: a bug"]);
  expect(entered).toEqual(["load-builtins", "config-sync"]);
});
