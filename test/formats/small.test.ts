import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { decodeKv, encodeKv, type KvValue } from "../../src/formats/kv.ts";
import { describeSignal, parseSignal, signalName } from "../../src/formats/signal.ts";
import { unwrap, wrapNone } from "../../src/formats/signature.ts";
import { decodeIo, encodeIo, ioHeader, ioLog, ioRedirect, parseIoLog } from "../../src/formats/stdio.ts";
import { renderTemplate } from "../../src/formats/subst.ts";
import { formatUri, localPath, localUri, parseJobPath, parseUri, remoteUri } from "../../src/formats/uri.ts";
import {
  coreDumped,
  describeWaitStatus,
  exitCode,
  exitStatus,
  describeShellStatus,
  shellExitCode,
  signalStatus,
  termSignal,
} from "../../src/formats/waitstatus.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("key-value encoding", () => {
  test("test vectors of RFC 38", () => {
    const vectors: [string, KvValue, string][] = [
      ["PATH", { type: "s", value: "/bin:/usr/bin" }, "PATH\0s/bin:/usr/bin\0"],
      ["EMPTY_STRING", { type: "s", value: "" }, "EMPTY_STRING\0s\0"],
      ["JOB_ID_STRING", { type: "s", value: "ƒuzzybunny" }, "JOB_ID_STRING\0sƒuzzybunny\0"],
      ["INT_MINUS", { type: "i", value: -42n }, "INT_MINUS\0i-42\0"],
      ["INT64_MAX", { type: "i", value: 2n ** 63n - 1n }, "INT64_MAX\0i9223372036854775807\0"],
      ["INT64_MIN", { type: "i", value: -(2n ** 63n) }, "INT64_MIN\0i-9223372036854775808\0"],
      ["DOUBLE", { type: "d", value: 3 }, "DOUBLE\0d3.000000\0"],
      ["DOUBLE_INF", { type: "d", value: Infinity }, "DOUBLE_INF\0dinf\0"],
      ["TRUE", { type: "b", value: true }, "TRUE\0btrue\0"],
      ["TIMESTAMP", { type: "t", value: 1692370785 }, "TIMESTAMP\0t2023-08-18T14:59:45Z\0"],
    ];
    for (const [key, value, text] of vectors) {
      expect(encodeKv([[key, value]])).toBe(text);
      expect(decodeKv(text)).toEqual(new Map([[key, value]]));
    }
    expect(encodeKv([["M", { type: "d", value: -Number.MAX_VALUE }]])).toStartWith(
      "M\0d-17976931348623157081452742373170435679807056752584499",
    );
    expect(encodeKv(vectors.map(([key, value]) => [key, value] as const))).toBe(vectors.map((vector) => vector[2]).join(""));
  });
  test("errors", () => {
    for (const text of [
      "a",
      "a\0",
      "a\0x1\0",
      "\0s\0",
      "a\0i1.5\0",
      "a\0i9223372036854775808\0",
      "a\0bTRUE\0",
      "a\0s\0a\0s\0",
      "a\0tnever\0",
    ]) {
      expect(() => decodeKv(text), text).toThrow("invalid key-value encoding");
    }
    expect(() => encodeKv([["a", { type: "s", value: "x\0" }]])).toThrow("NUL");
  });
});

const head = (text: string) => Buffer.from(text).toString("base64");

describe("signature", () => {
  test("mechanism none", () => {
    const signed = wrapNone(1000, '{"a":1}');
    // printf 'version\0i1\0userid\0i1000\0mechanism\0snone\0' | base64
    expect(signed).toBe("dmVyc2lvbgBpMQB1c2VyaWQAaTEwMDAAbWVjaGFuaXNtAHNub25lAA==.eyJhIjoxfQ==.none");
    expect(unwrap(signed)).toEqual({ userid: 1000, mechanism: "none", payload: bytes('{"a":1}') });
    fc.assert(
      fc.property(fc.uint8Array(), fc.integer({ min: 0, max: 0xffff_fffe }), (payload, userid) => {
        expect(unwrap(wrapNone(userid, payload))).toEqual({ userid, mechanism: "none", payload });
      }),
    );
  });
  test("what is refused", () => {
    const good = head("version\0i1\0userid\0i1\0mechanism\0snone\0");
    const cases: [string, string][] = [
      ["x", "HEADER.PAYLOAD.SIGNATURE"],
      [`${good}..none.x`, "HEADER"],
      [`${good}..munge`, "does not match"],
      [`${good}.a.none`, "payload is not base64"],
      [`${head("version\0i1\0userid\0i1\0mechanism\0smunge\0")}..none`, "munge is not supported"],
      [`${head("version\0i2\0userid\0i1\0mechanism\0snone\0")}..none`, "version is not 1"],
      [`${head("version\0i1\0mechanism\0snone\0")}..none`, "no user id"],
      [`${head("version\0i1\0userid\0i-1\0mechanism\0snone\0")}..none`, "no user id"],
    ];
    for (const [text, message] of cases) expect(() => unwrap(text), text).toThrow(message);
    expect(() => wrapNone(-1, "")).toThrow("invalid user id");
  });
});

describe("stdio", () => {
  test("text as it is, the rest in base64", () => {
    expect(encodeIo({ stream: "stdout", rank: 0, data: bytes("héllo\n") })).toEqual({
      stream: "stdout",
      rank: "0",
      data: "héllo\n",
    });
    expect(encodeIo({ stream: "stdout", rank: "0-1", data: Uint8Array.of(0xff, 0), eof: true })).toEqual({
      stream: "stdout",
      rank: "0-1",
      encoding: "base64",
      data: "/wA=",
      eof: true,
    });
    expect(encodeIo({ stream: "stdin", rank: "all", eof: true })).toEqual({ stream: "stdin", rank: "all", eof: true });
    expect(() => encodeIo({ stream: "stdin", rank: "all" })).toThrow("neither data nor an end");
    expect(decodeIo({ stream: "stdout", rank: "31", data: "bWVlcAo=", encoding: "base64", repeat: 2 })).toEqual({
      stream: "stdout",
      rank: "31",
      data: bytes("meep\n"),
      eof: false,
      repeat: 2,
    });
  });
  test("any bytes come back", () => {
    const text = fc.string({ unit: "grapheme", minLength: 1 }).map(bytes);
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ minLength: 1 }), text), fc.boolean(), (data, eof) => {
        const wire = JSON.parse(JSON.stringify(encodeIo({ stream: "s", rank: 1, data, eof }))) as unknown;
        expect(decodeIo(wire)).toEqual({ stream: "s", rank: "1", data, eof, repeat: 1 });
      }),
    );
  });
  test("contexts and errors", () => {
    expect(ioHeader({ stdout: 2 })).toEqual({ version: 1, encoding: { stdout: "UTF-8" }, count: { stdout: 2 }, options: {} });
    expect(ioRedirect("stdout", "0", "out")).toEqual({ stream: "stdout", rank: "0", path: "out" });
    expect(ioLog({ level: 3, message: "m", rank: 0, file: undefined })).toEqual({ level: 3, message: "m", rank: 0 });
    expect(parseIoLog({ level: 3, message: "m", line: 4 })).toMatchObject({ level: 3, message: "m", line: 4 });
    expect(() => parseIoLog({ level: 9, message: "" })).toThrow("level: must be");
    for (const value of [
      null,
      {},
      { stream: "s", rank: "0" },
      { stream: "s", rank: "0", data: "a", encoding: "base64" },
      { stream: "s", rank: "0", data: "x", encoding: "y" },
      { stream: "s", rank: "0", eof: "true" },
    ]) {
      expect(() => decodeIo(value)).toThrow("invalid I/O data");
    }
  });
});

describe("signals and wait status", () => {
  test("names", () => {
    expect(["TERM", "SIGTERM", "sigterm", "15", "KILL", "SIGRTMIN+1", "RTMAX-1", "RTMIN"].map(parseSignal)).toEqual([
      15, 15, 15, 15, 9, 35, 63, 34,
    ]);
    for (let number = 1; number <= 31; number++) expect(parseSignal(signalName(number))).toBe(number);
    for (let number = 34; number <= 64; number++) expect(parseSignal(signalName(number))).toBe(number);
    expect([describeSignal(11), describeSignal(15), describeSignal(37)]).toEqual([
      "Segmentation fault",
      "Terminated",
      "Real-time signal 3",
    ]);
    for (const text of ["", "0", "65", "FOO", "RTMIN+31", "SIG"]) expect(() => parseSignal(text), text).toThrow("invalid signal");
  });
  test("status", () => {
    expect([exitStatus(3), signalStatus(9), signalStatus(11, true)]).toEqual([768, 9, 139]);
    expect([exitCode(768), exitCode(9), termSignal(139), coreDumped(139), coreDumped(768)]).toEqual([
      3,
      undefined,
      11,
      true,
      false,
    ]);
    expect([shellExitCode(0), shellExitCode(768), shellExitCode(15)]).toEqual([0, 3, 143]);
    expect([0, 42 << 8, (128 + 9) << 8, 15].map(describeShellStatus)).toEqual(["", "task(s) exited with exit code 42", "task(s) Killed", "job shell Terminated"]);
    expect([describeWaitStatus(256), describeWaitStatus(15), describeWaitStatus(139)]).toEqual([
      "Exited with exit code 1",
      "Terminated",
      "Segmentation fault (core dumped)",
    ]);
    expect(() => exitStatus(256)).toThrow("from 0 to 255");
  });
});

describe("templates", () => {
  test("known tags are replaced once, unknown ones stay", () => {
    const tags = new Map([
      ["id.f58", "ƒ1"],
      ["name", "{{id.f58}}"],
    ]);
    expect(renderTemplate("a-{{id.f58}}-{{ name }}-{{x}}-{{", (tag) => tags.get(tag))).toEqual({
      text: "a-ƒ1-{{id.f58}}-{{x}}-{{",
      errors: ["unknown mustache tag 'x'"],
    });
    expect(
      renderTemplate("{{x}}", () => {
        throw new Error("no");
      }),
    ).toEqual({ text: "{{x}}", errors: ["no"] });
    expect(renderTemplate("plain", () => undefined)).toEqual({ text: "plain", errors: [] });
  });
});

describe("uri", () => {
  test("instances", () => {
    expect(parseUri("ssh://me@host:22/run/flux/local?a=1&b")).toEqual({
      scheme: "ssh",
      user: "me",
      host: "host",
      port: 22,
      path: "/run/flux/local",
      query: new Map([
        ["a", "1"],
        ["b", ""],
      ]),
    });
    for (const text of ["local:///run/flux-x/local-0", "ssh://host/x", "ssh://me@host:22/run?a=1&b", "loop://"])
      expect(formatUri(parseUri(text))).toBe(text);
    expect(localPath("local:///tmp/x y")).toBe("/tmp/x y");
    expect(remoteUri("local:///tmp/x", "h")).toBe("ssh://h/tmp/x");
    expect(localUri("ssh://h/tmp/x")).toBe("local:///tmp/x");
    expect(parseUri("pid:123")).toMatchObject({ scheme: "pid", path: "123" });
    for (const text of ["", "/tmp", "ssh://h:99999/x", "ssh://h:x/"]) expect(() => parseUri(text), text).toThrow("invalid URI");
    for (const text of ["ssh://h/x", "local://h/x", "local:x"]) expect(() => localPath(text), text).toThrow("invalid URI");
  });
  test("paths of jobs", () => {
    expect(parseJobPath("jobid:ƒ2/ƒ3")).toEqual({ absolute: false, steps: [1n, 2n] });
    expect(parseJobPath("/ƒ2?local")).toEqual({ absolute: true, steps: [1n] });
    expect(parseJobPath("..")).toEqual({ absolute: false, steps: [".."] });
    expect(() => parseJobPath("ƒ2/x!")).toThrow("invalid job id");
  });
});
