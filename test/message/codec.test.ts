// Golden bytes of RFC 3, worked out by hand.
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { decodeParts, encodeParts } from "../../src/message/codec.ts";
import { errno } from "../../src/message/errno.ts";
import { encodeFramed, FrameDecoder } from "../../src/message/framing.ts";
import {
  controlMessage,
  eventMessage,
  type Message,
  MSG_CONTROL,
  MSG_EVENT,
  MSG_REQUEST,
  requestMessage,
  responseMessage,
} from "../../src/message/message.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const text = (s: string): string => Buffer.from(s).toString("hex");

describe("parts", () => {
  test("a request: delimiter, topic, payload, header", () => {
    const message = requestMessage("kvs.get", { key: "a" }, { matchtag: 0x1234 });
    expect(encodeParts(message).map(hex)).toEqual([
      "",
      text("kvs.get"),
      `${text('{"key":"a"}')}00`,
      // magic version type flags(topic|payload|route) userid(unknown) rolemask nodeid(any) matchtag
      "8e01010b" + "ffffffff" + "00000000" + "ffffffff" + "00001234",
    ]);
  });

  test("routes stand before the delimiter, most recent hop first", () => {
    const message = requestMessage("a.b", undefined, { nodeid: 3, streaming: true, noResponse: true });
    message.routes?.push("first", "second");
    message.userid = 1000;
    message.rolemask = 2;
    expect(encodeParts(message).map(hex)).toEqual([
      text("second"),
      text("first"),
      "",
      text("a.b"),
      "8e01014d" + "000003e8" + "00000002" + "00000003" + "00000000",
    ]);
  });

  test("a response keeps topic, matchtag, routes and the streaming flag of its request", () => {
    const request = requestMessage("a.b", undefined, { matchtag: 7, streaming: true });
    request.routes?.push("me");
    const response = responseMessage(request, undefined, errno.ENODATA);
    expect(encodeParts(response).map(hex)).toEqual([
      text("me"),
      "",
      text("a.b"),
      "8e010249" + "ffffffff" + "00000000" + "0000003d" + "00000007",
    ]);
  });

  test("an event has no delimiter", () => {
    const event = eventMessage("hb", undefined, { private: true, sequence: 258 });
    expect(encodeParts(event).map(hex)).toEqual([text("hb"), "8e010421" + "ffffffff" + "00000000" + "00000102" + "00000000"]);
  });

  test("an event with a route delimiter, as flux-core sends it, is read and loses it", () => {
    const event = decodeParts(["", "6862", "8e010409ffffffff000000000000000100000000"].map((p) => Buffer.from(p, "hex")));
    expect([event.topic, event.sequence, event.routes, event.flags]).toEqual(["hb", 1, undefined, 1]);
  });

  test("a control message is its header", () => {
    expect(encodeParts(controlMessage(2, 5)).map(hex)).toEqual(["8e010800" + "ffffffff" + "00000000" + "00000002" + "00000005"]);
  });

  test.each([
    ["no parts", []],
    ["a short header", ["8e0108"]],
    ["wrong magic", ["8f010800ffffffff000000000000000200000005"]],
    ["wrong version", ["8e020800ffffffff000000000000000200000005"]],
    ["an unknown type", ["8e010300ffffffff000000000000000200000005"]],
    ["a request without delimiter flag", ["6100", "8e010101ffffffff00000000ffffffff00000000"]],
    ["a request whose delimiter is missing", ["6100", "8e010109ffffffff00000000ffffffff00000000"]],
    ["an empty topic", ["", "", "8e010109ffffffff00000000ffffffff00000000"]],
    ["a topic with a NUL inside", ["", "610062", "8e010109ffffffff00000000ffffffff00000000"]],
    ["a missing payload", ["", "6100", "8e01010bffffffff00000000ffffffff00000000"]],
    ["a part too many", ["", "6100", "6100", "8e010109ffffffff00000000ffffffff00000000"]],
    ["a control message with routes", ["61", "", "8e010808ffffffff000000000000000100000000"]],
  ])("refuses %s", (_what, parts) => {
    expect(() => decodeParts(parts.map((p) => Buffer.from(p, "hex")))).toThrow("malformed message");
  });
});

describe("framing", () => {
  test("short and long parts", () => {
    const message = requestMessage("t", Buffer.alloc(300, 0x78));
    const bytes = encodeFramed(message);
    // 8 prefix + 1 delimiter + (1+1) topic + (5+300) payload + (1+20) header
    expect(bytes.length).toBe(8 + 1 + 2 + 305 + 21);
    expect(hex(bytes.subarray(0, 16))).toBe("1200eeff" + "00000149" + "00" + "01" + "74" + "ff" + "0000012c");
    expect(bytes[16 + 300]).toBe(20);
  });

  test("a final NUL of topics and routes, as RFC 3 has it, is accepted", () => {
    const message = decodeParts(["6100", "", "6200", "8e010109ffffffff00000000ffffffff00000000"].map((p) => Buffer.from(p, "hex")));
    expect([message.topic, message.routes]).toEqual(["b", ["a"]]);
  });

  test("a part of 254 bytes is short, one of 255 long", () => {
    const size = (n: number): number => encodeFramed(eventMessage("t", Buffer.alloc(n))).length;
    expect(size(254)).toBe(8 + 2 + 1 + 254 + 21);
    expect(size(255)).toBe(8 + 2 + 5 + 255 + 21);
  });

  test("refuses a wrong magic and impossible sizes at once", () => {
    const feed = (h: string) => () => new FrameDecoder().push(Buffer.from(h, "hex"), () => {});
    expect(feed("1300eeff00000100")).toThrow("magic");
    expect(feed("1200eeff00000014")).toThrow("size");
    expect(feed("1200eeffffffffff")).toThrow("size");
  });

  test("any messages in any chunks come out as they went in", () => {
    const messages = fc.array(fc.record({ topic: fc.stringMatching(/^[a-z]{1,20}\.[a-z]{1,300}$/), payload: fc.option(fc.uint8Array({ maxLength: 600 })), routes: fc.array(fc.stringMatching(/^[0-9a-f]{1,36}$/), { maxLength: 5 }) }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (specs, cuts) => {
        const sent = specs.map(({ topic, payload, routes }) => {
          const message = requestMessage(topic, payload ?? undefined);
          message.routes?.push(...routes);
          return message;
        });
        const stream = Buffer.concat(sent.map(encodeFramed));
        const got: Message[] = [];
        const decoder = new FrameDecoder();
        for (let at = 0, i = 0; at < stream.length; i++) {
          const end = at + (cuts[i % cuts.length] as number);
          decoder.push(stream.subarray(at, end), (m) => got.push(m));
          at = end;
        }
        expect(got.map((m) => [m.type, m.topic, m.routes, m.bytes && hex(m.bytes)])).toEqual(
          sent.map((m) => [MSG_REQUEST, m.topic, m.routes, m.bytes && hex(m.bytes)]),
        );
        expect(decoder.pending_bytes).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  test("random bytes are refused with EPROTO or wait for more, never anything else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const framed = Buffer.concat([Buffer.from("1200eeff", "hex"), Buffer.from([0, 0, 0, bytes.length]), bytes]);
        try {
          new FrameDecoder().push(framed, (m) => expect([MSG_REQUEST, 2, MSG_EVENT, MSG_CONTROL]).toContain(m.type));
        } catch (err) {
          expect(err).toMatchObject({ errno: errno.EPROTO });
        }
      }),
    );
  });
});

describe("payload", () => {
  test("job ids above 2^53 survive, reals keep their point", () => {
    const id = 9007199254740995n;
    const message = requestMessage("j.x", { id, timestamp: 12 });
    expect(message.text).toBe('{"id":9007199254740995,"timestamp":12.0}');
    const again = decodeParts(encodeParts(message));
    expect(again.payload).toEqual({ id, timestamp: 12 });
  });

  test("bytes that are not an object are refused when they are read as one, and only then", () => {
    for (const bad of ["[1]", "1", "{", "", "\xff"]) {
      const message = requestMessage("a.b", Buffer.from(`${bad}\0`));
      expect(message.bytes?.length).toBe(Buffer.byteLength(bad) + 1);
      expect(() => message.payload).toThrow("malformed message payload");
    }
  });
});
