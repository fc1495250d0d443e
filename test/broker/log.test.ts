import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Attributes } from "../../src/broker/attributes.ts";
import { Log } from "../../src/broker/log.ts";
import { getuid } from "../../src/os/credentials.ts";
import { userName } from "../../src/os/passwd.ts";
import { formatLogEntry, parseLogEntry } from "../../src/client/log.ts";

function newLog(rank: number, attributes: Record<string, string> = {}, verbose = 0): { log: Log; stderr: string[]; forwarded: string[]; syslog: [number, string][]; attrs: Attributes } {
  const attrs = new Attributes();
  for (const [name, value] of Object.entries(attributes)) attrs.setFromCommandLine(name, value);
  const stderr: string[] = [];
  const forwarded: string[] = [];
  const syslog: [number, string][] = [];
  const log = new Log({
    rank,
    attrs,
    verbose,
    forward: (line) => forwarded.push(line) > 0,
    openSyslog: () => (severity, text) => syslog.push([severity, text]),
    writeStderr: (text) => stderr.push(text),
  });
  return { log, stderr, forwarded, syslog, attrs };
}

const texts = (log: Log): string[] => log.entries().map((line) => parseLogEntry(line)?.text ?? "?");

test("a line is written as stock Flux writes it", () => {
  expect(formatLogEntry(7, "broker", "insmod config", Date.UTC(2026, 10, 21, 2, 19, 53, 422), "0")).toBe(
    "<56>1 2026-11-21T02:19:53.422000Z 0 broker - - - insmod config",
  );
  expect(parseLogEntry("<56>1 2026-11-21T02:19:53.422899Z 0 broker 20908 - - insmod config")).toMatchObject({
    level: 7,
    hostname: "0",
    appname: "broker",
    text: "insmod config",
  });
});

test("the ring keeps the newest lines", () => {
  const { log } = newLog(0, { "log-ring-size": "3" });
  for (let i = 0; i < 10; i++) log.write(6, `line ${i}`);
  expect(texts(log)).toEqual(["line 7", "line 8", "line 9"]);
  expect(log.stats()).toMatchObject({ "ring-used": 3, count: 10 });
  log.clear();
  expect(texts(log)).toEqual([]);
});

test("a line without a rank gets ours; a line of another rank does not enter the ring", () => {
  const { log } = newLog(2);
  log.append(formatLogEntry(6, "me", "mine"));
  log.append(formatLogEntry(6, "you", "theirs", Date.now(), "5"));
  expect(log.entries().map((line) => parseLogEntry(line))).toMatchObject([{ hostname: "2", text: "mine" }]);
});

test("followers pass errors up, the leader prints them", () => {
  const follower = newLog(3);
  follower.log.write(3, "broken");
  follower.log.write(6, "fine");
  expect(follower.stderr).toEqual([]);
  expect(follower.forwarded.map((line) => parseLogEntry(line)?.text)).toEqual(["broken"]);

  const leader = newLog(0);
  leader.log.append(follower.forwarded[0] as string);
  expect(leader.stderr).toHaveLength(1);
  expect(leader.stderr[0]).toMatch(/^\w{3} \d\d \d\d:\d\d:\d\d\.\d{6} \S+ \d{4} broker\.err\[3\]: broken\n$/);
});

test("critical lines go to stderr where they happen", () => {
  const { log, stderr } = newLog(3);
  log.write(2, "worse");
  expect(stderr).toHaveLength(1);
});

test("followers of the log get new lines until they stop", () => {
  const { log } = newLog(0);
  const seen: string[] = [];
  const stop = log.follow((line) => seen.push(parseLogEntry(line)?.text ?? "?"));
  log.write(6, "one");
  stop();
  log.write(6, "two");
  expect(seen).toEqual(["one"]);
});

test("log-stderr-level changes at run time and refuses nonsense", () => {
  const { log, stderr, attrs } = newLog(0);
  attrs.setAtRuntime("log-stderr-level", "6", false);
  log.write(6, "now seen");
  expect(stderr).toHaveLength(1);
  expect(() => attrs.setAtRuntime("log-stderr-level", "loud", false)).toThrow("invalid level");
  expect(attrs.get("log-stderr-level")).toBe("6");
  expect(() => newLog(0, { "log-level": "9" })).toThrow("log-level");
});

test("log-filename gets everything that reaches rank 0", () => {
  const dir = mkdtempSync(join(tmpdir(), "flux-test-"));
  try {
    const { log } = newLog(0, { "log-filename": join(dir, "log") });
    log.write(7, "detail");
    expect(readFileSync(join(dir, "log"), "utf8")).toMatch(/broker\.debug\[0\]: detail\n$/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("--verbose shows each broker's own lines on its stderr, unless attributes say otherwise", () => {
  const shown = (verbose: number, attributes = {}): number => {
    const { log, stderr } = newLog(1, attributes, verbose);
    for (const level of [3, 6, 7] as const) log.write(level, "a line");
    return stderr.length;
  };
  expect([shown(0), shown(1), shown(2), shown(2, { "log-stderr-level": "3" }), shown(1, { "log-stderr-mode": "leader" })]).toEqual([0, 2, 3, 1, 0]);
});

test("lines go to the system's log when it is asked for, up to a level, those of other brokers too", () => {
  const { log, syslog } = newLog(0, { "log-syslog-enable": "1", "log-syslog-level": "4" });
  log.write(4, "one");
  log.write(5, "no");
  log.append(formatLogEntry(3, "resource", "two", Date.now(), "7"));
  const who = `${userName(getuid())}@unknown`;
  expect(syslog).toEqual([
    [4, `${who} broker.warning[0]: one`],
    [3, `${who} resource.err[7]: two`],
  ]);
  const other = newLog(0);
  other.log.write(0, "one");
  expect(other.syslog).toEqual([]);
  expect(() => newLog(0, { "log-syslog-enable": "yes" })).toThrow("log-syslog-enable: value must be 0 or 1");
});
