import { describe, expect, test } from "bun:test";
import { formatEndpoint, parseEndpoint } from "../../../src/transport/zmtp/mod.ts";

describe("endpoints", () => {
  test.each([
    ["tcp://127.0.0.1:8050", { kind: "tcp", host: "127.0.0.1", port: 8050 }],
    ["tcp://*:0", { kind: "tcp", host: "0.0.0.0", port: 0 }],
    ["tcp://*:*", { kind: "tcp", host: "0.0.0.0", port: 0 }],
    ["tcp://[::1]:9", { kind: "tcp", host: "::1", port: 9 }],
    ["tcp://node-1.example:65535", { kind: "tcp", host: "node-1.example", port: 65_535 }],
    ["ipc:///run/flux/local", { kind: "ipc", path: "/run/flux/local" }],
  ] as const)("%s", (text, endpoint) => {
    expect(parseEndpoint(text)).toEqual(endpoint);
    expect(parseEndpoint(formatEndpoint(endpoint))).toEqual(endpoint);
  });

  test.each(["", "udp://a:1", "tcp://", "tcp://a", "tcp://a:", "tcp://:1", "tcp://a:65536", "tcp://::1:1", "tcp://a*b:1", "tcp://a:1/", "ipc://", "ipc://x", "ipc:///a\0b"])(
    "'%s' is refused",
    (text) => expect(() => parseEndpoint(text)).toThrow(`endpoint '${text}'`),
  );

  test("a path that does not fit in a socket address", () => {
    expect(() => parseEndpoint(`ipc:///${"x".repeat(107)}`)).toThrow("at most 107");
  });
});
