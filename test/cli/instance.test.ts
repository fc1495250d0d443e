// The commands against a real instance of two brokers: what people type, and what they see.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

setDefaultTimeout(30_000);

const ROOT = join(import.meta.dir, "..", "..");
const FLUX = [process.execPath, join(ROOT, "src", "main.ts")];
const directory = mkdtempSync(join(tmpdir(), "flux-cli-"));

let instance: Bun.Subprocess<"pipe", "pipe", "inherit">;
let uri = "";

beforeAll(async () => {
  const { FLUX_URI: _, ...env } = process.env;
  instance = Bun.spawn([...FLUX, "start", "--test-size=2", "sh", "-c", "echo $FLUX_URI; exec cat >/dev/null"], {
    env,
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const reader = instance.stdout.getReader();
  let line = "";
  while (!line.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the instance ended before it ran its program");
    line += new TextDecoder().decode(value);
  }
  uri = line.trim();
});

afterAll(async () => {
  await instance.stdin.end();
  expect(await instance.exited).toBe(0);
  rmSync(directory, { recursive: true });
});

interface Output {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

function start(words: readonly string[], input: string | Uint8Array = "", env: Record<string, string> = {}): Bun.Subprocess<Uint8Array, "pipe", "pipe"> {
  return Bun.spawn([...FLUX, ...words], {
    cwd: directory,
    env: { ...process.env, FLUX_URI: uri, ...env },
    stdin: typeof input === "string" ? new TextEncoder().encode(input) : input,
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function collect(child: Bun.Subprocess<Uint8Array, "pipe", "pipe">): Promise<Output> {
  const [out, err, code] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text(), child.exited]);
  return { out, err, code };
}

const flux = (...words: string[]): Promise<Output> => collect(start(words));
const ok = (out: string): Output => ({ out, err: "", code: 0 });
const failed = (err: string, code = 1): Output => ({ out: "", err: `${err}\n`, code });

test("attributes", async () => {
  expect(await flux("getattr", "size")).toEqual(ok("2\n"));
  expect(await flux("getattr", "nope")).toEqual(failed("flux-getattr: nope: No such file or directory"));
  expect(await flux("setattr", "rank", "7")).toMatchObject({ code: 1 });
  const { out } = await flux("lsattr", "-v");
  expect(out).toContain(`${"size".padEnd(40)}2\n`);
  expect(out.split("\n")).toEqual(out.split("\n").slice(0, -1).toSorted().concat(""));
});

test("ping", async () => {
  const { out, code } = await flux("ping", "-c", "2", "-i", "0.01", "1!kvs");
  expect(code).toBe(0);
  expect(out).toMatch(/^flux-ping 1!kvs\n1!kvs\.ping pad=0 seq=0 time=[\d.]+ ms \(\S+\)\n1!kvs\.ping pad=0 seq=1 time=[\d.]+ ms \(\S+\)\n$/);
  expect((await flux("ping", "-c1", "-u", "-p", "5", "0")).out).toMatch(/ pad=5 userid=\d+ rolemask=0x[0-9a-f]+ seq=0 /);
  expect(await flux("ping", "-c1", "99")).toEqual({ out: "flux-ping 99!broker\n", err: "flux-ping: 99!broker.ping: No route to host\n", code: 1 });
  expect(await flux("ping", "-c1", "nosuch")).toMatchObject({ err: "flux-ping: nosuch.ping: Function not implemented\n", code: 1 });
  expect(await flux("ping", "-c1", "nosuch!kvs")).toEqual(failed("flux-ping: invalid nodeid/host: 'nosuch'"));
});

test("kvs values", async () => {
  expect(await flux("kvs", "put", "t.a=42", "t.s=two words", "t.e=")).toEqual(ok(""));
  expect(await flux("kvs", "get", "-l", "t.a", "t.s", "t.e")).toEqual(ok("t.a=42\nt.s=two words\nt.e="));
  expect(await flux("kvs", "get", "t.none")).toEqual(failed("flux-kvs: t.none: No such file or directory"));
  expect(await flux("kvs", "get", "t")).toEqual(failed("flux-kvs: t: Is a directory"));
  expect(await flux("kvs", "get", "-t", "t.a")).toEqual(ok('{"data":"NDI=","type":"val","ver":1}\n'));
  expect(await flux("kvs", "put", "noequals")).toEqual(failed("flux-kvs: put: you must specify a value as key=value"));
  expect(await flux("kvs", "dir", "t")).toEqual(ok("t.a = 42\nt.e = \nt.s = two words\n"));
  expect(await flux("kvs", "ls", "-F", ".", "t.a")).toMatchObject({ out: expect.stringContaining("t."), code: 0 });
  expect(await flux("kvs", "unlink", "t")).toEqual(failed("flux-kvs: cannot unlink 't': Directory not empty"));
  expect(await flux("kvs", "copy", "t.a", "t.b")).toEqual(ok(""));
  expect(await flux("kvs", "move", "t.b", "t.c")).toEqual(ok(""));
  expect(await flux("kvs", "ls", "-1", "t")).toEqual(ok("a\nc\ne\ns\n"));
  expect(await flux("kvs", "unlink", "-R", "t")).toEqual(ok(""));
});

test("kvs keeps bytes", async () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, i) => i % 256);
  expect((await collect(start(["kvs", "put", "-r", "bytes=-"], bytes))).code).toBe(0);
  const child = start(["kvs", "get", "-r", "bytes"]);
  expect(Buffer.compare(Buffer.from(await new Response(child.stdout).arrayBuffer()), bytes)).toBe(0);
});

test("kvs shows text as far as a NUL: C programs store the one that ends theirs", async () => {
  await collect(start(["kvs", "put", "-r", "c.text=-"], "b\0"));
  expect(await flux("kvs", "get", "c.text")).toEqual(ok("b\n"));
  expect(await flux("kvs", "get", "--raw", "c.text")).toEqual(ok("b\0"));
  expect(await flux("kvs", "dir", "c")).toEqual(ok("c.text = b\n"));
});

test("kvs links, roots and snapshots", async () => {
  await flux("kvs", "put", "l.x=1");
  expect(await flux("kvs", "link", "l.x", "l.y")).toEqual(ok(""));
  expect(await flux("kvs", "readlink", "l.y")).toEqual(ok("l.x\n"));
  expect(await flux("kvs", "readlink", "l.x")).toEqual(failed("flux-kvs: l.x: Invalid argument"));
  const root = (await flux("kvs", "getroot")).out.trim();
  await flux("kvs", "put", "l.x=2");
  expect(await flux("kvs", "get", "--at", root, "l.y")).toEqual(ok("1\n"));
  const version = Number((await flux("kvs", "version")).out);
  expect(await flux("kvs", "wait", String(version))).toEqual(ok(""));
  expect((await flux("kvs", "put", "-s", "l.x=3")).out).toBe(`${version + 1}\n`);
});

test("kvs namespaces", async () => {
  expect(await flux("kvs", "namespace", "create", "ns1")).toEqual(ok(""));
  expect(await flux("kvs", "put", "-N", "ns1", "a=1")).toEqual(ok(""));
  expect(await collect(start(["kvs", "get", "a"], "", { FLUX_KVS_NAMESPACE: "ns1" }))).toEqual(ok("1\n"));
  expect((await flux("kvs", "namespace", "list")).out).toMatch(/^NAMESPACE {33}OWNER {6}FLAGS\n.*ns1 +\d+ 0x00000000\n/s);
  expect(await flux("kvs", "namespace", "remove", "ns1")).toEqual(ok(""));
});

test("kvs watch prints values as they are written", async () => {
  const watcher = start(["kvs", "get", "--waitcreate", "--watch", "--count=3", "w"]);
  const result = collect(watcher);
  // Three writes, each after the one before was stored: none is merged away.
  for (const value of ["1", "2", "2"]) expect((await flux("kvs", "put", "--no-merge", `w=${value}`)).code).toBe(0);
  await flux("kvs", "put", "w=last");
  const { out, code } = await result;
  expect(code).toBe(0);
  expect(out.trim().split("\n").length).toBe(3);
  expect("1\n2\n2\nlast\n").toContain(out);
});

test("kvs eventlogs", async () => {
  expect(await flux("kvs", "eventlog", "append", "-t", "1.5", "log", "one", '{"k":"v"}')).toEqual(ok(""));
  expect(await flux("kvs", "eventlog", "append", "-t", "2", "log", "two")).toEqual(ok(""));
  expect(await flux("kvs", "eventlog", "append", "log", "bad", "notjson")).toEqual(failed("flux-kvs: eventlog_entry_create: Invalid argument"));
  expect(await flux("kvs", "eventlog", "get", "log")).toEqual(ok('1.500000 one k="v"\n2.000000 two\n'));
  expect(await flux("kvs", "eventlog", "wait-event", "-v", "log", "two")).toEqual(ok('1.500000 one k="v"\n2.000000 two\n'));
  expect(await flux("kvs", "eventlog", "wait-event", "-t", "0.1", "log", "never")).toEqual(failed("flux-kvs: wait-event timeout on event 'never'"));
  expect(await flux("kvs", "eventlog", "wait-event", "nolog", "x")).toEqual(failed("flux-kvs: eventlog path nolog not found"));
  await flux("kvs", "put", "nolog=foo");
  for (const how of [["get"], ["get", "--watch"], ["wait-event"]]) {
    const { err, code } = await flux("kvs", "eventlog", ...how, "nolog", ...(how[0] === "get" ? [] : ["x"]));
    expect([err, code]).toEqual(['flux-kvs: cannot decode improperly formatted eventlog: invalid eventlog entry "foo": the last entry does not end in a newline\n', 1]);
  }
});

test("events reach their subscriber", async () => {
  expect((await flux("event", "pub", "-l", "cli.loop", '{"x":1}')).code).toBe(0);
  expect((await flux("event", "pub", "-s", "cli.seq")).out).toMatch(/^seq=\d+\n$/);
  const subscriber = start(["event", "sub", "-c", "1", "cli.done"]);
  const result = collect(subscriber);
  // Nobody tells when it has subscribed: publish until it has seen one and ends.
  while (subscriber.exitCode === null) await flux("event", "pub", "-r", "cli.done", "raw text");
  expect(await result).toEqual(ok("cli.done\traw text\n"));
});

test("log", async () => {
  expect(await flux("logger", "--severity=info", "--appname=me", "hello", "there")).toEqual(ok(""));
  expect((await flux("dmesg")).out).toMatch(/Z me\.info\[0\]: hello there\n/);
  expect(await flux("logger", "--severity=nope", "x")).toMatchObject({ code: 1 });
  expect((await flux("dmesg", "-H", "-Lalways")).out).toContain("\x1b[33mme.info[0]\x1b[0m: hello there");
  expect(await flux("dmesg", "-d")).toEqual(failed("flux-dmesg: --delta can only be used with --human"));
});

test("modules", async () => {
  expect((await flux("module", "list")).out).toMatch(/^Module {20}Idle  S Sendq Recvq Service\n(.*\n)*kvs {23}/);
  expect((await flux("module", "stats", "kvs")).code).toBe(0);
  expect(await flux("module", "remove", "nosuch")).toMatchObject({ code: 1, err: expect.stringContaining("flux-module: remove nosuch: ") });
  expect(await flux("module", "remove", "-f", "nosuch")).toEqual(ok(""));
  expect(await flux("module", "debug", "--clear", "kvs")).toEqual(ok("0x0\n"));
});

test("exec runs programs on brokers", async () => {
  const both = await flux("exec", "-l", "echo", "hi");
  expect(both.out.split("\n").toSorted()).toEqual(["", "0: hi", "1: hi"]);
  expect(await flux("exec", "-r", "1", "sh", "-c", "echo out; echo err >&2; exit 3")).toEqual({ out: "out\n", err: "err\n1: Exit 3\n", code: 3 });
  expect(await collect(start(["exec", "-r", "1", "cat"], "text\n"))).toEqual(ok("text\n"));
  expect(await collect(start(["exec", "-n", "-r", "1", "cat"], "text\n"))).toEqual(ok(""));
  expect(await flux("exec", "-r", "0-1", "sh", "-c", "kill -9 $$")).toEqual(failed("[0-1]: Killed", 137));
  expect(await flux("exec", "-r", "1", "nosuchprog")).toMatchObject({ code: 127, err: expect.stringContaining("flux-exec: Error: rank 1: nosuchprog: ") });
  expect(await flux("exec", "-r", "0-9", "true")).toEqual(failed("flux-exec: One or more invalid --ranks specified: 0-9"));
});

test("sproc finds, signals and waits for what exec left in the background", async () => {
  const started = await flux("exec", "-r", "1", "--bg", "--waitable", "--label=nap", "sleep", "100");
  const pid = /^1: (\d+)\n$/.exec(started.out)?.[1] ?? "";
  expect(await flux("sproc", "ps", "-r1")).toEqual(ok(`      PID ST LABEL        COMMAND\n${pid.padStart(9)} R  nap          sleep\n`));
  expect(await flux("sproc", "ps", "-n", "-o", "{rank} {label}")).toEqual(ok(""));
  expect(await flux("sproc", "kill", "-r1", "0", pid)).toEqual(ok(""));
  expect(await flux("sproc", "kill", "-r1", "--wait", "TERM", "nap")).toEqual({ ...ok(""), code: 143 });
  expect(await flux("sproc", "kill", "-r1", "-w", "15", "nap")).toEqual(
    failed(
      "flux-sproc: ERROR: kill: label nap does not belong to any subprocess\nflux-sproc: ERROR: kill: wait failed: label nap does not belong to any subprocess",
    ),
  );
  await flux("exec", "-r", "1", "--bg", "--waitable", "--label=talk", "sh", "-c", "echo hi; echo bad >&2; exit 4");
  expect(await flux("sproc", "wait", "-r1", "--output", "talk")).toEqual({ out: "hi\n", err: "bad\n", code: 4 });
  await flux("exec", "-r", "1", "--bg", "--label=nap", "sleep", "100");
  expect(await flux("sproc", "wait", "-r1", "nap")).toEqual(failed("flux-sproc: ERROR: wait: process is not waitable"));
  expect(await flux("sproc", "kill", "-r1", "9", "nap")).toEqual(ok(""));
  expect(await flux("sproc", "kill", "9")).toEqual(
    failed("usage: flux sproc kill [-r RANK] [-s NAME] [-w] SIGNUM PID|LABEL\nflux sproc kill: error: the following arguments are required: PID|LABEL", 2),
  );
});

test("exec passes on large input unchanged", async () => {
  const bytes = Uint8Array.from({ length: 6_000_000 }, (_, i) => (i * 7919) % 256);
  const child = start(["exec", "-r", "1", "cat"], bytes);
  expect(Bun.hash(await new Response(child.stdout).arrayBuffer())).toBe(Bun.hash(bytes));
  expect(await child.exited).toBe(0);
});

test("env, version and the rest", async () => {
  expect((await flux("env")).out).toContain(`export FLUX_URI="${uri}"\n`);
  expect(await flux("env", "sh", "-c", "exit 5")).toMatchObject({ code: 5 });
  expect(await flux("env", "nosuchprogram")).toEqual(failed("flux-env: execvp (nosuchprogram): No such file or directory"));
  const child = start(["env", "sh", "-c", "echo $$"]);
  expect(await collect(child)).toEqual(ok(`${child.pid}\n`));
  expect((await flux("version")).out).toMatch(/^commands: {4}\t\t\d+\.\d+\.\d+\nlibflux-core:\t\t\d+\.\d+\.\d+\nflux-ts: .*\nbroker: {2}\t\t\d+\.\d+\.\d+\nFLUX_URI:\t\tlocal:/);
  expect((await flux("help", "ping")).out).toStartWith("flux-ping(1)\n");
  expect((await flux("help", "flux-config-tbon(5)")).out).toStartWith("flux-config-tbon(5)\n");
  expect((await flux("help", "shell-plugins")).out).toStartWith("flux-shell-initrc(5)\n");
  expect(await flux("help", "nosuch")).toMatchObject({ code: 1 });
});

test("a broker that isn't there, and options that aren't", async () => {
  const nowhere = { FLUX_URI: "local:///nowhere/local-0" };
  expect(await collect(start(["kvs", "get", "x"], "", nowhere))).toEqual(failed("flux-kvs: Unable to connect to Flux: broker socket /nowhere/local-0 was not found"));
  const { FLUX_URI: _, ...outside } = process.env;
  const alone = Bun.spawnSync([...FLUX, "getattr", "rank"], { env: outside }).stderr.toString();
  if (!existsSync("/run/flux/local")) expect(alone).toBe("flux-getattr: Unable to connect to Flux: broker socket /run/flux/local was not found: this is no Flux instance, 'flux start' starts one\n");
  expect(await flux("kvs", "get", "--bad", "x")).toEqual(failed("flux-kvs get: unrecognized option '--bad'\nTry `flux-kvs get --help' for more information."));
  expect(await flux("ping", "-c", "x", "0")).toMatchObject({ code: 1, err: expect.stringContaining("invalid value 'x' for --count") });
});

test("the owner acts as a user", async () => {
  const guest = { FLUX_HANDLE_USERID: "12345", FLUX_HANDLE_ROLEMASK: "0x2" };
  expect(await collect(start(["setattr", "-f", "x", "y"], "", guest))).toMatchObject({ code: 1, err: expect.stringContaining("Request requires owner credentials") });
  expect((await collect(start(["ping", "--userid", "-c1", "0"], "", guest))).out).toContain("userid=12345 rolemask=0x2");
  expect(await collect(start(["ping", "-c1", "0"], "", { FLUX_HANDLE_USERID: "me" }))).toMatchObject({ code: 1, err: expect.stringContaining("FLUX_HANDLE_USERID=me: expected a number") });
});

test("hostlist of stdin", async () => {
  expect(await collect(start(["hostlist", "-", "c", "stdin"], "a1 a2\nb\n"))).toEqual(ok("a[1-2],b,c\n"));
  expect(await flux("hostlist")).toEqual(ok(""));
  const silent = Bun.spawn([...FLUX, "hostlist"], { env: { ...process.env, FLUX_HOSTLIST_STDIN_TIMEOUT: "0.01" }, stdin: "pipe", stderr: "pipe" });
  expect(await new Response(silent.stderr).text()).toBe("flux-hostlist: ERROR: timeout after 0.01s waiting for stdin\n");
  expect(await silent.exited).toBe(1);
});

test("commands that need no broker", async () => {
  const encode = await flux("R", "encode", "-r0-1", "-c0-3", "-Hn[0-1]", "-pbig:1");
  expect(encode.out).toBe(
    '{"version": 1, "execution": {"R_lite": [{"rank": "0-1", "children": {"core": "0-3"}}], "starttime": 0.0, "expiration": 0.0, "nodelist": ["n[0-1]"], "properties": {"big": "1"}}}\n',
  );
  expect(await collect(start(["R", "decode", "-s"], encode.out))).toEqual(ok("rank[0-1]/core[0-3]\n"));
  expect(await collect(start(["R", "append"], encode.out + encode.out))).toMatchObject({ code: 1, err: expect.stringContaining("overlap") });
  await Bun.write(join(directory, "r.toml"), '[[resource.config]]\nhosts = "n[0-1]"\ncores = "0-3"\n');
  expect(JSON.parse((await flux("R", "parse-config", "r.toml")).out).execution).toMatchObject({ R_lite: [{ rank: "0-1", children: { core: "0-3" } }], nodelist: ["n[0-1]"] });
  expect(await flux("R", "parse-config", "nope.toml")).toEqual(failed("flux-R: stat: nope.toml: No such file or directory"));
  expect(await flux("hostlist", "-n", "-1", "foo[1-3]")).toEqual(ok("foo3\n"));
  expect(await flux("hostlist", "-n", "99", "foo[1-3]")).toEqual(failed("flux-hostlist: ERROR: Hostlist index out of range"));
  expect(await flux("hostlist", "--bad")).toMatchObject({ code: 2 });
  expect(await flux("keygen", "--name=test", "my.cert")).toEqual(ok(""));
  expect(statSync(join(directory, "my.cert")).mode & 0o777).toBe(0o600);
});

test("a simulated job starts and ends when it is told to", async () => {
  const id = (await flux("submit", "--setattr=system.exec.test.override=1", "true")).out.trim();
  const override = (...words: string[]): Promise<Output> => flux("job-exec-override", ...words);
  expect(await flux("job", "wait-event", "-qt20", id, "alloc")).toEqual(ok(""));
  expect(await override("finish", id, "0")).toEqual(failed("flux-job-exec-override: ERROR: finish: Job not running"));
  expect(await override("start", id)).toEqual(ok(""));
  expect(await override("start", id)).toEqual(failed("flux-job-exec-override: ERROR: start: Job already running"));
  expect(await override("finish", id)).toMatchObject({ code: 2, err: expect.stringContaining("required: STATUS") });
  expect(await override("finish", id, "256")).toEqual(ok(""));
  expect(await flux("job", "wait-event", "-qt20", id, "clean")).toEqual(ok(""));
  expect(await flux("jobs", "-no", "{status} {returncode}", id)).toEqual(ok("FAILED 1\n"));
});

test("flux job taskmap knows what it doesn't find", async () => {
  const { out } = await flux("submit", "-n2", "-N2", "true");
  const id = out.trim();
  expect(await flux("job", "wait-event", id, "start")).toMatchObject({ code: 0 });
  expect(await flux("job", "taskmap", "--ntasks=1", id)).toEqual(ok("1\n"));
  expect(await flux("job", "taskmap", "--ntasks=2", id)).toEqual(failed("flux-job: failed to get task count for node 2: No such file or directory"));
});

test("flux job attach --show-status shows none where nobody looks", async () => {
  const id = (await flux("submit", "true")).out.trim();
  expect((await flux("job", "attach", "--show-status", id)).err).toContain("started");
  expect(await collect(start(["job", "attach", "--show-status", id], "", { FLUX_ATTACH_NONINTERACTIVE: "t" }))).toEqual(ok(""));
});

test("programs that are not ours get the Python path that the user puts first, and no other of ours", async () => {
  const env = { FLUX_PYTHONPATH_PREPEND: "/foo", PYTHONPATH: "/bar" };
  expect(await collect(start(["/usr/bin/printenv", "PYTHONPATH"], "", env))).toEqual(ok("/foo:/bar\n"));
  expect(await collect(start(["/usr/bin/printenv", "PYTHONPATH"], "", { PYTHONPATH: "/bar" }))).toEqual(ok("/bar\n"));
});

test("flux multi-prog without a file shows how it is used", async () => {
  expect(await flux("multi-prog")).toEqual(failed("usage: flux multi-prog [OPTIONS] CONFIG\nflux multi-prog: error: the following arguments are required: CONFIG", 2));
  expect(await flux("multi-prog", "-nx", "x")).toEqual(failed("usage: flux multi-prog [OPTIONS] CONFIG\nflux multi-prog: error: argument -n/--dry-run: invalid IDset value: 'x'", 2));
});

test("flux job attach --read-only doesn't take a job's terminal, and says so at once", async () => {
  const id = (await flux("submit", "-o", "pty.interactive", "cat")).out.trim();
  expect(await flux("job", "attach", "--read-only", id)).toEqual(failed("flux-job: Cannot connect to pty in readonly mode"));
  expect(await flux("cancel", id)).toMatchObject({ code: 0 });
});

test("flux batch says what is wrong with an option, on its command line and in a script", async () => {
  const asked = async (script: string, ...words: string[]): Promise<Output> => collect(start(["batch", "--dry-run", ...words], `#!/bin/sh\n${script}`));
  expect(await asked("", "-nx")).toMatchObject({ err: expect.stringContaining("flux batch: error: argument -n/--nslots: invalid int value: 'x'\n"), code: 2 });
  const where = "flux-batch: ERROR: argument parsing failed at stdin line 2: ";
  expect(await asked("#flux: -n x\n")).toEqual(failed(`${where}argument -n/--nslots: invalid int value: 'x'`, 2));
  expect(await asked("#flux: --nosuch=1\n")).toEqual(failed(`${where}unrecognized arguments: --nosuch=1`, 2));
});

test("options of a script's variables may be empty", async () => {
  expect(JSON.parse((await flux("submit", "--dry-run", "--cc=", "--signal=", "true")).out)).not.toHaveProperty("attributes.system.shell.options.signal");
});

test("flux proxy says why it finds no instance, and kvs ls which key it means", async () => {
  expect(await flux("proxy", "12345", "true")).toEqual(failed("flux-proxy: Unable to resolve 12345 to a URI: jobid 12345 not found"));
  expect(await flux("kvs", "ls", "")).toEqual(failed("flux-kvs: '': Invalid argument"));
});

test("files of command lines that are not there are named", async () => {
  const gone = "No such file or directory: '/nofile'";
  expect(await flux("bulksubmit", "echo", "::::", "/nofile")).toEqual(failed(`flux-bulksubmit: ERROR: ${gone}`));
  expect(await flux("multi-prog", "/nofile")).toEqual(failed(`flux-multi-prog: ERROR: ${gone}`));
  expect(await flux("batch", "-n1", "/nofile")).toEqual(failed(`flux-batch: ERROR: ${gone}`));
  expect(await flux("cron", "tab", "/nofile")).toEqual(failed("flux-cron: /nofile: No such file or directory"));
  expect(await flux("module", "load", "nomodule")).toEqual(failed("flux-module: load nomodule: module not found in search path"));
});

test("flux job attach --show-status tells that the queue is stopped, until it isn't", async () => {
  expect(await flux("queue", "stop", "--quiet")).toMatchObject({ code: 0 });
  const id = (await flux("submit", "true")).out.trim();
  const child = start(["job", "attach", "--show-status", "--queue-check-interval=0", id]);
  let shown = "";
  let stopped = true;
  for await (const chunk of child.stderr) {
    shown += Buffer.from(chunk).toString();
    if (!stopped || !shown.includes("(default queue stopped)")) continue;
    stopped = false;
    expect(await flux("queue", "start", "--quiet")).toMatchObject({ code: 0 });
  }
  expect([await child.exited, stopped]).toEqual([0, false]);
});

test("flux post-job-event adds an event to a job", async () => {
  const { out } = await collect(start(["submit", "sleep", "100"]));
  const id = out.trim();
  expect(await collect(start(["post-job-event", id, "note", "a.b=1", "text=x y"]))).toEqual({ out: "", err: "", code: 0 });
  expect((await collect(start(["job", "wait-event", "-v", id, "note"]))).out).toContain('note a={"b":1} text="x y"\n');
  expect(await collect(start(["post-job-event", "123", "note"]))).toEqual({ out: "", err: "flux-post-job-event: ERROR: No such job 123\n", code: 1 });
  expect(await collect(start(["post-job-event", id, "note", "x"]))).toMatchObject({ err: "flux-post-job-event: ERROR: Missing required value for key x\n", code: 1 });
  await start(["cancel", id]).exited;
});
