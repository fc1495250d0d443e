import { expect, test } from "bun:test";
import { errorResponse, eventMessage, type Message, requestMessage, responseMessage } from "../../src/message/message.ts";
import { errno, FluxError } from "../../src/message/errno.ts";
import type { Link } from "../../src/transport/link.ts";
import { withTrace } from "../../src/transport/trace.ts";

test("FLUX_HANDLE_TRACE prints what is sent and received", () => {
  const lines: string[] = [];
  let receive: (message: Message) => void = () => {};
  const link: Link = { start: (fn) => void (receive = fn), send: () => {}, queued_bytes: 0, drained: () => Promise.resolve(), close: () => {} };
  let now_ms = 1000;
  const traced = withTrace(link, { FLUX_HANDLE_TRACE: "1" }, (text) => lines.push(...text.trimEnd().split("\n")), () => now_ms);
  const received: Message[] = [];
  traced.start((message) => received.push(message), () => {});
  now_ms += 12;
  const request = requestMessage("attr.get", { name: "rank" }, { matchtag: 7 });
  traced.send(request);
  expect(lines.splice(0)).toEqual([
    "--------------------------------------",
    "> 0.01200",
    "> attr.get",
    "> flags=topic,payload,route userid=unknown rolemask=none nodeid=any matchtag=7",
    '> {"name":"rank"}',
  ]);
  const response = responseMessage(request, { value: "0" });
  response.userid = 42;
  response.rolemask = 0x1b;
  response.routes = ["a", "b"];
  receive(response);
  expect(received).toEqual([response]);
  expect(lines.splice(0).slice(2)).toEqual(["< attr.get", "< flags=topic,payload,route userid=42 rolemask=owner,user,admin,0x10 errnum=0 matchtag=7", "< |a!b|", '< {"value":"0"}']);
  receive(errorResponse(request, new FluxError(errno.ENOENT, "unknown attribute")));
  expect(lines.splice(0).slice(3)).toEqual(["< flags=topic,payload,route userid=unknown rolemask=none errnum=2 matchtag=7", "< unknown attribute"]);
  traced.send(requestMessage("x.y", Buffer.alloc(40, 0xab)));
  expect(lines.splice(0).at(-1)).toBe(`> ${"AB".repeat(37)}...`);
  receive(eventMessage("e.f", {}));
  expect(lines.splice(0).slice(2, 3)).toEqual(["e e.f"]);
});

test("without it the link is left alone", () => {
  const link: Link = { start: () => {}, send: () => {}, queued_bytes: 0, drained: () => Promise.resolve(), close: () => {} };
  expect(withTrace(link, {}, () => {}, () => 0)).toBe(link);
});
