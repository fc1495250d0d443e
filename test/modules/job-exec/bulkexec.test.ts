// A job of many shells that are played here: what job-exec orders them to do.
import { expect, test } from "bun:test";
import { Flux } from "../../../src/client/flux.ts";
import { Request } from "../../../src/client/request.ts";
import type { JsonObject } from "../../../src/formats/json.ts";
import { Rset } from "../../../src/formats/rset.ts";
import { type Message, requestMessage, responseMessage } from "../../../src/message/message.ts";
import { bulkExecution } from "../../../src/modules/job-exec/bulkexec.ts";
import { parseExecConfig } from "../../../src/modules/job-exec/config.ts";
import { type ActiveJob, newJob } from "../../../src/modules/job-exec/job.ts";
import { createVirtualClock } from "../../../src/os/clock.ts";
import { memoryLinkPair } from "../../../src/transport/memory.ts";

const ID = 77n;

function manyShells(count: number): { job: ActiveJob; report: (rank: number, payload: JsonObject) => Promise<void>; orders: { rank: number; type: unknown }[] } {
  const [link, nodes] = memoryLinkPair();
  const starts = new Map<number, Message>();
  const orders: { rank: number; type: unknown }[] = [];
  nodes.start((message) => {
    if (message.topic === "job-exec.shell-start") starts.set(message.nodeid, message);
    else if (message.topic === "job-exec.shell-control") orders.push({ rank: message.nodeid, type: message.payload["type"] });
  }, () => undefined);
  const nowhere = new Request(requestMessage("job-exec.start", {}, { streaming: true }), () => undefined, () => undefined);
  const context = {
    h: new Flux(link, { name: "job-exec" }),
    clock: createVirtualClock(),
    owner: 0,
    debugFlags: () => 0,
    config: parseExecConfig({}, []),
    primary: { write: () => Promise.resolve() },
    emptyRoot: "",
    jobs: new Map<bigint, ActiveJob>(),
    beginning: new Set<Promise<void>>(),
  };
  const guest = { namespace: "job-77", create: () => Promise.resolve(), append: () => undefined, open: () => undefined, finish: () => Promise.resolve() };
  const R = { version: 1, execution: { R_lite: [{ rank: `0-${count - 1}`, children: { core: "0" } }], starttime: 0, expiration: 0, nodelist: [`n[0-${count - 1}]`] } };
  const job = newJob(context, nowhere, { id: ID, userid: 0, jobspec: {}, reattach: false, R, resources: Rset.parse(R), guest }, bulkExecution);
  job.started = true;
  job.execution.start();
  return {
    job,
    orders,
    async report(rank, payload) {
      while (!starts.has(rank)) await Bun.sleep(0);
      nodes.send(responseMessage(starts.get(rank) as Message, { id: ID, shell_rank: rank, ...payload }));
      await Bun.sleep(0);
    },
  };
}

test("when shells end before all are ready, each of the others is told once", async () => {
  const COUNT = 40;
  const { job, report, orders } = manyShells(COUNT);
  for (let rank = 0; rank < COUNT / 2; rank++) await report(rank, { phase: "ready" });
  for (let rank = 0; rank < COUNT - 1; rank++) await report(rank, { phase: "exited", status: 256 });
  const of = (type: string): number[] => orders.filter((order) => order.type === type).map(({ rank }) => rank);
  // One by the exception, one because the barrier will not be reached.
  expect(of("kill").length).toBeLessThanOrEqual(2 * COUNT);
  expect(new Set(of("kill")).size).toBe(COUNT - 1);
  expect(of("go").length).toBe(COUNT / 2 - 1);
  // One that comes to the barrier later waits for nobody.
  await report(COUNT - 1, { phase: "ready" });
  expect(of("go").at(-1)).toBe(COUNT - 1);
  await report(COUNT - 1, { phase: "exited", status: 256 });
  expect(job.finalizing).toBe(true);
});
