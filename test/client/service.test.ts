import { expect, test } from "bun:test";
import { DEFERRED, Request } from "../../src/client/request.ts";
import { type Method, Service } from "../../src/client/service.ts";
import { errno } from "../../src/message/errno.ts";
import { type Message, requestMessage } from "../../src/message/message.ts";
import { ROLE_OWNER } from "../../src/message/roles.ts";

const PER_SENDER_MAX = 50_000;

function fixture(method: Method): { service: Service; send: (sender: string, count: number) => Message[] } {
  const service = new Service("s", { m: method }, {});
  const send = (sender: string, count: number): Message[] => {
    const answers: Message[] = [];
    for (let i = 1; i <= count; i++) {
      const message = requestMessage("s.m", {}, { matchtag: i, streaming: true });
      message.rolemask = ROLE_OWNER;
      message.routes?.push(sender);
      service.dispatch(new Request(message, (answer) => answers.push(answer), service.ended));
    }
    return answers;
  };
  return { service, send };
}

test("one sender fills its own bound, not the others'; what a refused request began is undone", () => {
  const kept = new Set<Request>();
  const { service, send } = fixture((req) => {
    kept.add(req);
    req.onCancel(() => kept.delete(req));
    return DEFERRED;
  });
  const answers = send("greedy", PER_SENDER_MAX + 2);
  expect(answers.map((answer) => answer.errnum)).toEqual([errno.ENOBUFS, errno.ENOBUFS]);
  expect(answers[0]?.text).toContain(`limit ${PER_SENDER_MAX}`);
  expect(kept.size).toBe(PER_SENDER_MAX);
  expect(send("modest", 1)).toEqual([]);
  expect(service.openRequests.count).toBe(PER_SENDER_MAX + 1);
  service.openRequests.disconnect("greedy");
  expect(service.openRequests.count).toBe(1);
  expect(send("greedy", 1)).toEqual([]);
});

test("a promise whose request found no room may still reject", async () => {
  const { promise, reject } = Promise.withResolvers<void>();
  const { send } = fixture(() => promise);
  const answers = send("greedy", PER_SENDER_MAX + 1);
  expect(answers.map((answer) => answer.errnum)).toEqual([errno.ENOBUFS]);
  reject(new Error("late"));
  await promise.catch(() => {});
  await Promise.resolve();
  expect(answers).toHaveLength(PER_SENDER_MAX + 1);
});

test("a request is cancelled without a look at the others of its sender", () => {
  const service = new Service("s", { m: () => DEFERRED }, {});
  let looks = 0;
  class Watched extends Request {
    override get matchtag(): number {
      looks++;
      return super.matchtag;
    }
  }
  const cancelled: number[] = [];
  const count = 1000;
  for (let matchtag = 1; matchtag <= count; matchtag++) {
    const message = requestMessage("s.m", {}, { matchtag, streaming: true });
    message.rolemask = ROLE_OWNER;
    message.routes?.push("sender");
    service.dispatch(new Watched(message, () => cancelled.push(matchtag), service.ended));
  }
  looks = 0;
  service.openRequests.cancel("sender", count);
  expect(cancelled).toEqual([count]);
  expect(service.openRequests.count).toBe(count - 1);
  expect(looks).toBeLessThan(5);
  service.openRequests.cancel("sender", count);
  service.openRequests.cancel("nobody", 1);
  expect(cancelled).toEqual([count]);
});
