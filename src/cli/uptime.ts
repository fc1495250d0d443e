// flux uptime: one line on how the instance is.
import type { Flux } from "../client/flux.ts";
import { shortDuration } from "../formats/fsd.ts";
import { IdSet } from "../formats/idset.ts";
import { userName } from "../os/passwd.ts";
import { num, obj, str, unpack } from "../message/unpack.ts";
import { defineCommand } from "./command.ts";
import { withFlux } from "./connect.ts";
import { print } from "./output.ts";
import { queueNames, queueStatus } from "./queue.ts";

export default defineCommand({
  name: "uptime",
  style: "getopt",
  summary: "show how long the instance has been running, and its size",
  details: "Show the state of the instance, how long it has been running, its owner, depth and size.\n\nExample:\n  flux uptime",
  run() {
    return withFlux(async (h) => {
      const [owner, size, depth, broker] = await Promise.all([
        h.attr("security.owner"),
        h.attr("size"),
        h.attr("instance-level"),
        h.rpc("state-machine.get").then((answer) => unpack(answer, { state: str, duration: num })),
      ]);
      const now_s = Date.now() / 1000;
      const running = broker.state === "run" ? await runningInstance(h, now_s, Number(size)) : undefined;
      const clock = new Date(now_s * 1000).toTimeString().slice(0, 8);
      const duration = shortDuration(running?.duration_s ?? broker.duration);
      const parts = [`${broker.state} ${duration}`, `owner ${userName(Number(owner))}`, `depth ${depth}`, `size ${size}`, ...(running?.nodes ?? [])];
      print(` ${clock} ${parts.join(",  ")}`);
      if (running !== undefined && running.notes.length > 0) print(`  ${running.notes.join(",  ")}`);
      return 0;
    });
  },
});

async function runningInstance(h: Flux, now_s: number, size: number): Promise<{ duration_s: number; nodes: string[]; notes: string[] }> {
  const [start, status, online, queues] = await Promise.all([
    h.rpc("attr.get", { name: "broker.starttime" }, { nodeid: 0 }).then((answer) => Number(unpack(answer, { value: str }).value)),
    h.rpc("resource.status", undefined, { nodeid: 0 }).then((answer) => unpack(answer, { drain: obj })),
    h.rpc("groups.get", { name: "broker.online" }, { nodeid: 0 }).then((answer) => IdSet.parse(unpack(answer, { members: str }).members).count),
    queueNames(h),
  ]);
  const drained = Object.keys(status.drain).reduce((total, ranks) => total + IdSet.parse(ranks).count, 0);
  const statuses = await Promise.all((queues.length > 0 ? queues : [undefined]).map((name) => queueStatus(h, name)));
  const nodes = [...(drained > 0 ? [`${drained} drained`] : []), ...(size > online ? [`${size - online} offline`] : [])];
  const notes = [
    ...(statuses.every(({ enable }) => !enable) ? ["submit disabled"] : []),
    ...(statuses.every(({ start: started }) => !started) ? ["scheduler stopped"] : []),
  ];
  return { duration_s: now_s - start, nodes, notes };
}
