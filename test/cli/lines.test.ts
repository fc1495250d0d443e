// What commands make of data before they print it: no broker needed.
import { describe, expect, test } from "bun:test";
import { typedText } from "../../src/cli/config.ts";
import type { CommandSpecAny, OptionSpec } from "../../src/cli/command.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { commandList } from "../../src/cli/command-list.ts";
import { bashCompletions, completions } from "../../src/cli/completions.ts";
import { lineFormatter } from "../../src/cli/dmesg.ts";
import { eventlogLines } from "../../src/cli/eventlog-lines.ts";
import { renderPage } from "../../src/cli/help.ts";
import { combine } from "../../src/cli/hostlist.ts";
import { humanTimes } from "../../src/cli/human-time.ts";
import { columns, cut } from "../../src/cli/kvs/dir.ts";
import { normalKey, treeobjText } from "../../src/cli/kvs/request.ts";
import { MAN_PAGES } from "../../src/cli/man-pages.ts";
import { lookUp } from "../../src/cli/overlay.ts";
import { splitObjects } from "../../src/cli/json-input.ts";
import { formatRawJson, memberOf, parseRawJson } from "../../src/cli/raw-json.ts";
import { startLines } from "../../src/cli/startlog.ts";
import { Hostlist } from "../../src/formats/hostlist.ts";

describe("dmesg", () => {
  const entry = "<56>1 2026-11-21T02:19:53.422899Z 0 broker 20908 - - insmod config";

  test("a line has time, module, severity and rank", () => {
    expect(lineFormatter(false, false, false)(entry)).toBe("2026-11-21T02:19:53.422899Z broker.debug[0]: insmod config");
  });

  test("human times keep microseconds and count from the minute's first line, or the line before", () => {
    const later = entry.replace(".422899Z", ".434082Z");
    const last = entry.replace(":53.422899Z", ":54.422899Z");
    const offsets = (delta: boolean): string[] => [entry, later, last].map(lineFormatter(true, delta, false)).map((l) => l.slice(0, 13));
    expect(offsets(false).slice(1)).toEqual(["[  +0.011183]", "[  +1.000000]"]);
    expect(offsets(true).slice(1)).toEqual(["[  +0.011183]", "[  +0.988817]"]);
  });

  test("colours follow severity", () => {
    const line = lineFormatter(false, false, true)(entry);
    expect(line).toBe("\x1b[32m2026-11-21T02:19:53.422899Z\x1b[0m \x1b[33mbroker.debug[0]\x1b[0m: \x1b[34minsmod config\x1b[0m");
    expect(lineFormatter(false, false, true)(entry.replace("<56>", "<48>"))).toEndWith(": insmod config\x1b[0m");
  });

  test("what is no log entry is shown as it is", () => {
    expect(lineFormatter(false, false, false)("noise")).toBe("noise");
  });
});

test("human times show the date again in another minute", () => {
  const time = humanTimes();
  expect(time(1.5).isBreak).toBe(true);
  expect(time(2).text).toBe("[  +0.500000]");
  expect(time(61).isBreak).toBe(true);
  expect(time(60.25).text).toBe("[  -0.750000]");
});

test("eventlog lines", () => {
  const entry = { timestamp: 1.5, name: "ev", context: { k: "v", n: 2, o: { a: [1] } } };
  expect(eventlogLines({ time: "raw" }).line(entry)).toBe('1.500000 ev k="v" n=2 o={"a":[1]}');
  expect(eventlogLines({ time: "raw", json: true }).line(entry)).toBe('{"timestamp":1.5,"name":"ev","context":{"k":"v","n":2,"o":{"a":[1]}}}');
  const offsets = eventlogLines({ time: "offset" });
  offsets.seen({ timestamp: 1, name: "first" });
  expect(offsets.line(entry)).toStartWith("0.500000 ev");
});

describe("kvs", () => {
  test("ls fills columns as wide as the longest name and 4", () => {
    const names = ["a", "admin", "b", "resource"];
    expect(columns(names, names, 24)).toEqual(["a           admin", "b           resource"]);
    expect(columns(names, names, 1)).toEqual(names);
    expect(columns(names, names, 0)).toEqual(["a           admin       b           resource"]);
    expect(columns([], [], 80)).toEqual([]);
  });

  test("dir cuts long values and those of several lines", () => {
    expect(cut("key = value", 80)).toBe("key = value");
    expect(cut(`key = ${"z".repeat(80)}`, 80)).toBe(`key = ${"z".repeat(71)}...`);
    expect(cut("key = one\n", 80)).toBe("key = one");
    expect(cut("key = one\ntwo", 80)).toBe("key = one...");
    expect(cut("key = one\ntwo", 0)).toBe("key = one\ntwo");
  });

  test("keys and tree objects have one form", () => {
    expect([".", "a..b", ".a.", "..."].map(normalKey)).toEqual([".", "a.b", "a", "."]);
    expect(() => normalKey("")).toThrow();
    expect(treeobjText({ ver: 1, type: "val", data: "NDI=" })).toBe('{"data":"NDI=","type":"val","ver":1}');
  });
});

describe("numbers of services", () => {
  const text = '{"period":2.0,"id":18446744073709551615,"a.b":{"c":[1,{}]},"e":[]}';

  test("are printed as they came", () => {
    expect(formatRawJson(parseRawJson(text))).toBe(text);
    expect(formatRawJson(parseRawJson('{"a":{"b":1.50},"c":[]}'), 1)).toBe('{\n "a": {\n  "b": 1.50\n },\n "c": []\n}');
  });

  test("are found by a path, in names with periods too", () => {
    expect(formatRawJson(memberOf(parseRawJson(text), "a.b.c") ?? null)).toBe("[1,{}]");
    expect(memberOf(parseRawJson(text), "a.x")).toBeUndefined();
    expect(memberOf(parseRawJson(text), "toString")).toBeUndefined();
  });

  test("have the type that was asked for", () => {
    const config = parseRawJson('{"i":1,"r":1.5,"d":"5m","s":"x"}');
    const typed = (name: string, type: Parameters<typeof typedText>[1]): string => typedText(memberOf(config, name) ?? null, type, name);
    expect([typed("i", "integer"), typed("r", "real"), typed("d", "fsd-integer"), typed("d", "fsd-real")]).toEqual(["1", "1.5", "300", "300.000000"]);
    expect(() => typed("s", "fsd")).toThrow("s does not have the requested type");
    expect(() => typed("i", "real")).toThrow();
  });
});

test("host lists combine", () => {
  const none = { intersect: false, minus: false, xor: false };
  const of = (...lists: string[]): Hostlist[] => lists.map((words) => Hostlist.parse(words));
  expect(combine(of("a", "b,a"), none).toString()).toBe("a,b,a");
  expect(combine(of("n[1-3]", "n[2-4]"), { ...none, intersect: true }).toString()).toBe("n[2-3]");
  expect(combine(of("n[1-3]", "n[2-4]"), { ...none, xor: true }).toString()).toBe("n[1,4]");
  expect(combine(of("a,b,a", "a"), { ...none, minus: true }).toString()).toBe("b,a");
});

test("JSON objects one after another come apart", () => {
  expect(splitObjects('{"a":"}{"}\n [1] {"b":"\\""}', "object")).toEqual(['{"a":"}{"}', "[1]", '{"b":"\\""}']);
  expect(() => splitObjects("bad", "object")).toThrow("'[' or '{' expected near 'bad'");
  expect(() => splitObjects("{} }", "object")).toThrow();
  expect(() => splitObjects('{"a"', "object")).toThrow();
});

test("overlay lookup turns ranks into hosts and back", () => {
  const hosts = Hostlist.parse("node[0-3]");
  expect(lookUp("2-3", hosts)).toBe("node[2-3]");
  expect(lookUp("node[1,3]", hosts)).toBe("1,3");
  expect(() => lookUp("nohost", hosts)).toThrow("host nohost not found in host map");
  expect(() => lookUp("9", hosts)).toThrow();
});

test("startlog shows runs and crashes", () => {
  const log = [
    { timestamp: 0, name: "start", context: { version: 1 } },
    { timestamp: 90, name: "finish", context: { version: 1 } },
    { timestamp: 100, name: "start", context: { version: 1 } },
    { timestamp: 200, name: "start", context: { version: 1 } },
  ];
  const { lines, crashed } = startLines(log, false, 201.2);
  expect(lines.map((line) => line.replace(/\d{4}-\d\d-\d\d \d\d:\d\d/g, "T"))).toEqual(["T - T (1.5m)", "T - crashed", "T - running (1.2s)"]);
  expect(crashed).toBe(true);
});

describe("help", () => {
  test("lists every command that isn't hidden once", () => {
    for (const [name, { hidden, summary }] of Object.entries(COMMANDS)) {
      const lines = commandList().split("\n").filter((line) => line === `   ${name.padEnd(18)} ${summary}`);
      expect(lines).toHaveLength(hidden === true ? 0 : 1);
    }
  });

  test("a page's tables are aligned; a long first cell has a line of its own", () => {
    const page = `| field | |\n| --- | --- |\n| \`id\`, \`name\` | what | more |\n| ${"x".repeat(30)} | long |\n| alone | |\nafter\n`;
    expect(renderPage(page, false)).toBe(
      `    field\n    id, name                  what  more\n    ${"x".repeat(30)}\n                              long\n    alone\n    after`,
    );
  });

  test("a page's headings stand out and its marks are gone", () => {
    expect(renderPage("# flux-x(1)\n\n## Name\n\nSay `x` or **y**.\n\n```\n$ x `a`\n```\n\n- `-q`: z\n", false)).toBe(
      "flux-x(1)\n\nNAME\n\n    Say x or y.\n\n        $ x `a`\n\n    -q: z",
    );
  });

  test("every command has a page", () => {
    // These are called by scripts of shells, and by the broker alone.
    const without = new Set(["completions", "own-group"]);
    expect(Object.keys(COMMANDS).filter((name) => MAN_PAGES[name] === undefined && !without.has(name))).toEqual([]);
  });

  const pages = Object.entries(MAN_PAGES).filter(([name]) => COMMANDS[name] !== undefined);

  test.each(pages)("the page of %s names every option", async (name, page) => {
    if (["kvs", "R", "config", "module", "event", "overlay", "hostlist"].includes(name)) return; // these leave some to --help
    const missing = (await optionsOf(name)).filter((option) => {
      const long = /--[\w-]+/.exec(option.flags)?.[0] ?? "";
      const letter = /^-\w/.exec(option.flags)?.[0] ?? long;
      return ![long, `${letter} `, `${letter}]`, `\`${letter}\``].some((mark) => page.includes(mark));
    });
    expect(missing.map((option) => option.flags)).toEqual([]);
  });

  test.each(pages)("the page of %s names no option that isn't there", async (name, page) => {
    const names = name === "pgrep" || name === "pkill" ? ["pgrep", "pkill"] : [name];
    const known = new Set((await Promise.all(names.map(optionsOf))).flat().flatMap((option) => option.flags.match(LONG_OPTION) ?? []));
    const described = page.split("\n").filter((line) => line.startsWith("- `-"));
    const named = described.flatMap((line) => (line.match(/`[^`]*`/g) ?? []).flatMap((words) => words.match(LONG_OPTION) ?? []));
    expect(named.filter((option) => !known.has(option))).toEqual([]);
  });
});

test("bash completes commands, subcommands and options", async () => {
  const script = bashCompletions(await completions());
  const complete = async (...words: string[]): Promise<string> => {
    const code = `${script}\nCOMP_WORDS=(${words.map((w) => `'${w}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _flux; echo "\${COMPREPLY[*]}"`;
    const child = Bun.spawn(["bash", "-c", code], { stdout: "pipe", stderr: "inherit" });
    return (await new Response(child.stdout).text()).trim();
  };
  expect(await complete("flux", "pi")).toBe("ping");
  expect(await complete("flux", "kvs", "getr")).toBe("getroot");
  expect(await complete("flux", "kvs", "get", "--wat")).toBe("--watch");
  expect(await complete("flux", "ping", "-c", "1", "--us")).toBe("--userid");
  expect(await complete("flux", "help", "dme")).toBe("dmesg");
});

const LONG_OPTION = /(?<![\w-])--[a-z][\w-]*/g;

/** Options of a command and of all its subcommands that help shows. */
async function optionsOf(name: string): Promise<OptionSpec<unknown>[]> {
  const all = (spec: CommandSpecAny): OptionSpec<unknown>[] => [...Object.values(spec.options ?? {}), ...(spec.subcommands ?? []).flatMap(all)];
  const spec = (await COMMANDS[name]?.load())?.default;
  return spec === undefined ? [] : all(spec).filter((option) => option.hidden !== true);
}
