// Brokers that find each other by the configuration, each started by itself on a "host" of its own: flux-config-bootstrap(5).
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { flux, FLUX, type Result } from "./flux.ts";
import { freePorts, launch, type Launched, type Scratch, scratch } from "./launch.ts";

const SCRIPT = "#!/bin/sh\nflux resource info\nflux uptime\nflux run --label-io -N3 hostname\n";

interface Site extends Scratch {
  readonly config: string;
  readonly ports: readonly number[];
  /** Starts the broker of a host. */
  start(host: string, ...words: string[]): Launched;
  /** The same, and waits for its end. */
  run(host: string, ...words: string[]): Promise<Result>;
  /** Writes another configuration. */
  configure(edit: (text: string) => string): void;
}

/** A certificate, and a configuration for test0, test1 and test2, which all are this host. */
async function site(edit: (text: string) => string = String): Promise<Site> {
  const box = scratch();
  const certificate = join(box.folder, "test.cert");
  const config = join(box.folder, "test.toml");
  expect((await flux(["keygen", certificate])).code).toBe(0);
  const ports = freePorts(3);
  const text = `[bootstrap]
curve_cert = "${certificate}"
hosts = [
  { host="test0", bind="tcp://lo:${ports[0]}", connect="tcp://127.0.0.1:${ports[0]}" },
  { host="test1", bind="tcp://lo:${ports[1]}", connect="tcp://localhost:${ports[1]}" },
  { host="test2", bind="tcp://lo:${ports[2]}", connect="tcp://127.0.0.1:${ports[2]}" },
]
`;
  const configure = (edit_: (text: string) => string): void => writeFileSync(config, edit_(text));
  configure(edit);
  const start = (host: string, ...words: string[]): Launched =>
    launch([FLUX, "start", `-o,--config-path=${config}`, ...words], { ...box.tmp, FLUX_FAKE_HOSTNAME: host }, box.folder);
  return { ...box, config, ports, start, configure, run: (host, ...words) => start(host, ...words).done };
}

/** Resolves when a broker of this rank has its local socket: it is on its way to join. */
async function isComing(box: Scratch, rank: number): Promise<void> {
  while (!readdirSync(box.tmp.TMPDIR).some((name) => existsSync(join(box.tmp.TMPDIR, name, `local-${rank}`)))) await Bun.sleep(10);
}

describe("three brokers, one a host", () => {
  test("run a script; rank 0 comes last", async () => {
    await using box = await site();
    const script = join(box.folder, "script.sh");
    writeFileSync(script, SCRIPT);
    chmodSync(script, 0o755);
    const second = box.start("test2", "./script.sh");
    await isComing(box, 2);
    const first = box.start("test1", "./script.sh");
    await isComing(box, 1);
    const { stdout, stderr, code } = await box.run("test0", "./script.sh");
    expect(stderr).toBe("");
    expect(stdout).toMatch(/^3 Nodes, \d+ Cores, \d+ GPUs$/m);
    expect(stdout).toMatch(/^ \d\d:\d\d:\d\d run \S+,  owner \S+,  depth 0,  size 3$/m);
    expect(stdout.split("\n").filter((line) => /^\d: /.test(line)).sort()).toEqual([0, 1, 2].map((rank) => `${rank}: ${hostname()}`));
    expect([code, (await first.done).code, (await second.done).code]).toEqual([0, 0, 0]);
    await box.nothingLeft();
  });

  test("know their hosts, and where they were told to listen", async () => {
    await using box = await site();
    const others = ["test1", "test2"].map((host) => box.start(host));
    const { stdout } = await box.run("test0", "flux getattr hostlist; flux exec -l flux getattr broker.boot-method; flux getattr tbon.endpoint; flux exec -r2 flux getattr tbon.parent-endpoint; exit 3");
    const [hosts, ...lines] = stdout.trimEnd().split("\n");
    expect([hosts, ...lines.slice(0, 3).sort()]).toEqual(["test[0-2]", "0: config", "1: config", "2: config"]);
    expect(lines.slice(3)).toEqual([`tcp://127.0.0.1:${box.ports[0]}`, `tcp://127.0.0.1:${box.ports[0]}`]);
    for (const other of others) expect((await other.done).code).toBe(0);
    await box.nothingLeft();
  });

  test("form the tree that `parent` describes", async () => {
    await using box = await site((text) => text.replace('host="test0",', 'host="test0", ').replace('host="test1",', 'host="test1", parent="test2",'));
    const others = ["test1", "test2"].map((host) => box.start(host));
    const { stdout } = await box.run("test0", "flux getattr tbon.topo; flux overlay status; flux getattr tbon.maxlevel; flux exec -r1 flux getattr tbon.level; flux run -N3 true && echo ran");
    expect(stdout).toBe("custom\n0 test0: full\n└─ 2 test2: full\n   └─ 1 test1: full\n2\n2\nran\n");
    for (const other of others) expect((await other.done).code).toBe(0);
    await box.nothingLeft();
  });

  test("by a compact list of hosts and defaults with %h and %p; tbon.topo goes before", async () => {
    await using box = await site();
    const socket = join(box.folder, "%h.%p");
    box.configure((text) => `${/^[^]*cert"$/m.exec(text)?.[0]}\ndefault_port = 8050\ndefault_bind = "ipc://${socket}"\ndefault_connect = "ipc://${socket}"\nhosts = [ { host = "test[0-2]" } ]\n[tbon]\ntopo = "kary:1"\n`);
    const others = ["test1", "test2"].map((host) => box.start(host));
    const { stdout, stderr } = await box.run("test0", "flux overlay status; flux getattr tbon.endpoint");
    expect(stderr).toBe("");
    expect(stdout).toBe(`0 test0: full\n└─ 1 test1: full\n   └─ 2 test2: full\nipc://${box.folder}/test0.8050\n`);
    for (const other of others) expect((await other.done).code).toBe(0);
  });

  test("broker.quorum: the program starts before all are there, and they may come later", async () => {
    await using box = await site();
    const leader = box.start("test0", "-Sbroker.quorum=1", "echo up; flux resource list -no {nnodes}; flux overlay status --summary; flux overlay status --summary --wait=full; flux resource eventlog --wait=resource-define >/dev/null; flux resource list -s all -no {nnodes}");
    await leader.saw("partial");
    const others = ["test1", "test2"].map((host) => box.start(host));
    const { stdout, code } = await leader.done;
    expect(stdout).toBe("up\n0\npartial\nfull\n3\n");
    expect(code).toBe(0);
    for (const other of others) expect((await other.done).code).toBe(0);
    await box.nothingLeft();
  });

  test("a signal ends a broker that still waits for its parent", async () => {
    await using box = await site();
    const broker = box.start("test1");
    await isComing(box, 1);
    broker.kill("SIGTERM");
    expect((await broker.done).code).toBe(1);
    await box.nothingLeft();
  });

  test("-Shostname= stands for the host's name", async () => {
    await using box = await site((text) => text.replace(/^ .*test[12].*\n/gm, ""));
    const { stdout } = await box.run("other", "-Shostname=test0", "flux getattr size; flux getattr hostlist");
    expect(stdout).toBe("1\ntest0\n");
  });
});

describe("one clear line when", () => {
  test.each([
    ["the host is not in the list", "nowhere", String, /^flux-broker: Config file error \[bootstrap\]: nowhere not found in hosts\n$/],
    ["a key is unknown", "test0", (text: string) => text.replace("hosts =", "host ="), /^flux-broker: .*\[bootstrap\]: unknown key 'host': expected .*\n$/],
    ["there is no certificate", "test0", (text: string) => text.replace("test.cert", "no.cert"), /^flux-broker: Error loading certificate: \/\S+\/no.cert: No such file or directory\n$/],
    ["none is named", "test0", (text: string) => text.replace(/^curve_cert.*$/m, ""), /^flux-broker: .*\[bootstrap\]: curve_cert must be defined for size > 1\n$/],
    ["the interface is not there", "test0", (text: string) => text.replaceAll("tcp://lo:", "tcp://nosuch0:"), /^[^\n]*: tcp:\/\/nosuch0:\d+: there is no interface 'nosuch0'\n$/],
    ["%p is nothing", "test0", (text: string) => text.replace(/lo:\d+/, "lo:%p"), /^flux-broker: .* has %p, but there is no default_port\n$/],
    ["a parent is unknown", "test0", (text: string) => text.replace('host="test1",', 'host="test1", parent="test9",'), /^flux-broker: .*invalid hosts\[1\]: parent key refers to unknown host\n$/],
    [
      "parents go round",
      "test0",
      (text: string) => text.replace('host="test1",', 'host="test1", parent="test2",').replace('host="test2",', 'host="test2", parent="test1",'),
      /^flux-broker: .*invalid hosts\[1\]: test1 is its own parent's parent\n$/,
    ],
    ["rank 0 has no place to listen", "test0", (text: string) => text.replace(/ bind="[^"]*",/, ""), /^[^\n]*: bind URI is undefined for rank 0 \(test0\)\n$/],
  ])("%s", async (_, host, edit, wanted) => {
    await using box = await site(edit);
    const { stderr, code } = await box.run(host, "true");
    expect(stderr).toMatch(wanted);
    expect(code).toBe(1);
    await box.nothingLeft();
  });

  test("others may read the certificate", async () => {
    await using box = await site();
    chmodSync(join(box.folder, "test.cert"), 0o644);
    expect(await box.run("test0", "true")).toMatchObject({ code: 1, stderr: `flux-broker: Error loading certificate: ${box.folder}/test.cert: readable by group/other\n` });
  });

  test("the port is taken", async () => {
    await using box = await site();
    const listener = Bun.listen({ hostname: "127.0.0.1", port: box.ports[0] ?? 0, socket: { data() {} } });
    const { stderr, code } = await box.run("test0", "true");
    listener.stop(true);
    expect(stderr).toMatch(/^[^\n]*: cannot listen at tcp:\/\/127\.0\.0\.1:\d+: Address already in use\n$/);
    expect(code).toBe(1);
    await box.nothingLeft();
  });

  test("a broker has another certificate", async () => {
    await using box = await site();
    const leader = box.start("test0", "-Sbroker.quorum=1", "echo up; flux overlay status --summary --wait=full");
    await leader.saw("up");
    await flux(["keygen", join(box.folder, "other.cert")]);
    box.configure((text) => text.replace("test.cert", "other.cert"));
    const { stderr, code } = await box.run("test1", "true");
    expect(stderr).toMatch(/^[^\n]*cannot join: tcp:\/\/127\.0\.0\.1:\d+: [^\n]*\(is the file curve_cert the same on both hosts\?\)\n$/);
    expect(code).toBe(1);
    leader.kill("SIGTERM");
    await leader.done;
    await box.nothingLeft();
  });

  test("config is asked for and there is none, or the method is unknown", async () => {
    expect(await flux(["start", "-Sbroker.boot-method=config", "true"])).toMatchObject({ code: 1, stderr: "flux-broker: broker.boot-method=config: the configuration has no table [bootstrap]\n" });
    expect((await flux(["start", "-Sbroker.boot-method=magic", "true"])).stderr).toBe("flux-broker: broker.boot-method=magic is not supported: use config, simple, libpmi2, libpmi, single\n");
  });
});

test("tbon.interface-hint chooses the address where nothing prescribes it", async () => {
  for (const hint of ["lo", "127.0.0.0/8"]) {
    const { stdout } = await flux(["start", "-s2", "-Stbon.prefertcp=1", `-Stbon.interface-hint=${hint}`, "flux getattr tbon.endpoint"]);
    expect(stdout).toMatch(/^tcp:\/\/127\.0\.0\.1:\d+\n$/);
  }
  const { stderr, code } = await flux(["start", "-s2", "-Stbon.prefertcp=1", "-Stbon.interface-hint=nosuch0", "true"]);
  expect(stderr).toContain("tbon.interface-hint: no interface matches 'nosuch0'");
  expect(code).toBe(1);
});
