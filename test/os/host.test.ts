// What the operating system says about users, limits, CPUs, hardware, processes and paths.

import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, openSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

import { errno, FluxError } from "../../src/message/errno.ts";
import { getAffinity, setAffinity, withAffinity } from "../../src/os/affinity.ts";
import { peerCredentials, setProcessName } from "../../src/os/credentials.ts";
import { openFdStream } from "../../src/os/fd-stream.ts";
import { hostname } from "../../src/os/hostname.ts";
import { hwlocXml, systemXml } from "../../src/os/hwloc.ts";
import { formatCpuset, formatHwlocXml, hostnameOfHwlocXml, parseCpuset, parseHwlocXml } from "../../src/os/hwloc-xml.ts";
import { closeFd, pipe, socketPair } from "../../src/os/libc.ts";
import { getRlimit, NOFILE_VARIABLE, openDescriptors, setRlimit, UNLIMITED, withSoftLimits } from "../../src/os/limits.ts";
import { currentUserByName, groupMembers, userByName, userByUid, userName } from "../../src/os/passwd.ts";
import { childrenOf, descendantsOf, readProcess } from "../../src/os/process-tree.ts";
import { spawnPty } from "../../src/os/pty.ts";
import { columnsOf, isTerminal, windowSize } from "../../src/os/terminal.ts";
import { exitCode } from "../../src/formats/waitstatus.ts";
import { checkSocketPath, listenAt, removeSocket } from "../../src/os/socket-path.ts";
import { collectOutput, spawnProcess } from "../../src/os/spawn.ts";
import { claimDirectory, makeTemporaryDirectory, removeDirectory, spaciousRoot, temporaryRoot } from "../../src/os/tmpdir.ts";
import { cpusOfCore, cpusOfCores, discoverTopology, parseCpuList } from "../../src/os/topology.ts";

const dir = makeTemporaryDirectory("os-test-");
afterAll(() => removeDirectory(dir));

function failure(fn: () => unknown): FluxError {
  try {
    fn();
  } catch (error) {
    if (error instanceof FluxError) return error;
    throw error;
  }
  throw new Error("it succeeded");
}

describe("users", () => {
  test("by number and name, and as text when there is none", () => {
    const root = userByUid(0);
    expect(root).toMatchObject({ name: "root", uid: 0, gid: 0, home: "/root" });
    expect(userByName("root")).toEqual(root);
    expect(typeof root?.name).toBe("string");
    expect(groupMembers("root")).toBeArray();
    expect(groupMembers("no-such-group-here")).toBeUndefined();
    expect(currentUserByName("root")).toEqual(root);
    expect(userByName("no-such-user-here")).toBeUndefined();
    expect(userName(4_000_000_001)).toBe("4000000001");
    expect(failure(() => userByName("a\0b")).errno).toBe(errno.EINVAL);
  });

  test("the peer of a socket", () => {
    const [a, b] = socketPair();
    expect(peerCredentials(a)).toEqual({ pid: process.pid, uid: process.getuid?.() ?? -1, gid: process.getgid?.() ?? -1 });
    closeFd(a);
    closeFd(b);
    expect(failure(() => peerCredentials(a)).errno).toBe(errno.EBADF);
  });

  test("our name in ps", () => {
    const before = readFileSync("/proc/thread-self/comm", "utf8").trim();
    setProcessName("flux-test");
    expect(readFileSync("/proc/thread-self/comm", "utf8")).toBe("flux-test\n");
    setProcessName(before);
  });
});

describe("limits", () => {
  test("are read, changed for a while, and taken back", () => {
    const before = getRlimit("core");
    withSoftLimits([["core", 0]], () => expect(getRlimit("core").soft).toBe(0));
    expect(getRlimit("core")).toEqual(before);
    expect(failure(() => setRlimit("core", { soft: UNLIMITED, hard: 0 })).errno).toBe(errno.EINVAL);
    expect(openDescriptors()).toBeGreaterThan(2);
  });

  test("the launch-time limit of open files is found, and children get it, through two runtimes", async () => {
    const module = join(import.meta.dir, "../../src/os");
    const script = join(dir, "limit.ts");
    writeFileSync(
      script,
      `import { launchNofile } from "${module}/limits.ts"; import { collectOutput } from "${module}/spawn.ts";
       const argv = process.argv[2] === "again" ? [process.execPath, import.meta.path] : ["/bin/sh", "-c", "ulimit -Sn"];
       console.log(launchNofile(), (await collectOutput({ argv })).stdout.trim());`,
    );
    const run = async (limit: string, env: Record<string, string> = {}): Promise<string> =>
      (await collectOutput({ argv: ["/bin/sh", "-c", `${limit} ${process.execPath} ${script} again; :`], env: { ...process.env, ...env } })).stdout.trim();
    expect(await run("ulimit -Sn 777;")).toBe("777 777 777");
    expect(await run("ulimit -Sn 777;", { [NOFILE_VARIABLE]: "555" })).toBe("555 555 555");
  });
});

describe("streams over descriptors", () => {
  test("both directions, and the end", async () => {
    const [a, b] = socketPair();
    let text = "";
    const left = openFdStream(a, { onData: (chunk) => (text += Buffer.from(chunk).toString()) });
    const right = openFdStream(b, { onData: (chunk) => right.write(chunk) });
    left.write("one ");
    left.write("two");
    left.end();
    await Promise.all([left.closed, right.closed]);
    expect(text).toBe("one two");
    expect(failure(() => left.write("x")).errno).toBe(errno.EPIPE);
  });

  test("what is no socket is refused", () => {
    const [reading, writing] = pipe();
    expect(failure(() => openFdStream(reading)).message).toStartWith(`descriptor ${reading}: `);
    expect(failure(() => openFdStream(9999)).errno).toBe(errno.EBADF);
    closeFd(reading);
    closeFd(writing);
  });

  test("destroy closes at once, also while opening", async () => {
    const before = readdirSync("/proc/self/fd").length;
    const [a, b] = socketPair();
    const [left, right] = [openFdStream(a), openFdStream(b)];
    left.destroy();
    await right.closed;
    await Bun.sleep(0);
    expect(readdirSync("/proc/self/fd").length).toBe(before);
  });
});

describe("CPUs", () => {
  test("the mask is set, and taken back also after an error", () => {
    const mine = getAffinity();
    const [first = 0] = mine;
    withAffinity([first], () => expect(getAffinity()).toEqual([first]));
    expect(() =>
      withAffinity([first], () => {
        throw new Error("x");
      }),
    ).toThrow("x");
    expect(getAffinity()).toEqual(mine);
    expect(failure(() => setAffinity([])).errno).toBe(errno.EINVAL);
    expect(failure(() => setAffinity([1_000_000])).errno).toBe(errno.EINVAL);
  });

  test("lists and sets of CPUs", () => {
    expect(parseCpuList("0-3,8\n")).toEqual([0, 1, 2, 3, 8]);
    expect(parseCpuList("\n")).toEqual([]);
    for (const cpus of [[], [0], [0, 31, 32, 100]]) expect(parseCpuset(formatCpuset(cpus))).toEqual(cpus);
    expect(parseCpuset("0x1,,0x00000003")).toEqual([0, 1, 64]);
    expect(failure(() => parseCpuset("0xzz")).errno).toBe(errno.EINVAL);
  });
});

/** A /sys with these CPUs: package, core and NUMA node of each, as Linux lays them out. */
function fakeSystem(name: string, cpus: Array<{ package: number; core: string; node: number }>): string {
  const root = join(dir, name);
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), `${text}\n`);
  };
  const members = (same: (other: { package: number; core: string; node: number }) => boolean): string =>
    cpus.flatMap((other, cpu) => (same(other) ? [cpu] : [])).join(",");
  put("devices/system/cpu/online", `0-${cpus.length - 1}`);
  put("devices/system/node/online", [...new Set(cpus.map((cpu) => cpu.node))].join(","));
  for (const [at, cpu] of cpus.entries()) {
    const topology = `devices/system/cpu/cpu${at}/topology`;
    put(`${topology}/physical_package_id`, String(cpu.package));
    put(`${topology}/package_cpus_list`, members((other) => other.package === cpu.package));
    put(`${topology}/core_cpus_list`, members((other) => other.core === cpu.core));
    put(`devices/system/node/node${cpu.node}/cpulist`, members((other) => other.node === cpu.node));
    put(`devices/system/node/node${cpu.node}/meminfo`, `Node ${cpu.node} MemTotal:  1024 kB`);
  }
  return root;
}

describe("topology", () => {
  // Two sockets whose CPUs alternate, two threads a core: CPU n and n+4 share a core.
  const twisted = [0, 1, 2, 3, 4, 5, 6, 7].map((cpu) => ({ package: cpu % 2, core: `${cpu % 4}`, node: cpu % 2 }));

  test("cores are numbered by package first, as hwloc does", () => {
    const topology = discoverTopology({ sys: fakeSystem("twisted", twisted), proc: dir, allowed: "all", env: {} });
    expect(topology.cores.map((core) => core.cpus)).toEqual([[0, 4], [2, 6], [1, 5], [3, 7]]);
    expect(topology.cores.map((core) => core.package)).toEqual([0, 0, 1, 1]);
    expect(topology.numaNodes).toEqual([{ os_index: 0, memory_bytes: 1048576 }, { os_index: 1, memory_bytes: 1048576 }]);
    expect(topology.cores.flatMap(({ cpus }) => cpus)).toHaveLength(8);
    expect(cpusOfCores(topology, [1, 2])).toEqual([1, 2, 5, 6]);
    expect(failure(() => cpusOfCore(topology, 4)).message).toBe("core 4 is not among the 4 cores of this host");
  });

  test("a mask leaves cores out and numbers the others anew", () => {
    const topology = discoverTopology({ sys: fakeSystem("masked", twisted), proc: dir, allowed: [5, 3, 7], env: {} });
    expect(topology.cores).toEqual([
      { cpus: [5], package: 0, numaNodes: [0] },
      { cpus: [3, 7], package: 0, numaNodes: [0] },
    ]);
    expect([topology.packages, topology.numaNodes.map((node) => node.os_index)]).toEqual([[1], [1]]);
  });

  test("GPUs of both makers", () => {
    const sys = fakeSystem("gpus", [{ package: 0, core: "0", node: 0 }]);
    for (const [node, id] of [["0", "0"], ["1", "34511"], ["2", "45"]] as const) {
      mkdirSync(join(sys, "class/kfd/kfd/topology/nodes", node), { recursive: true });
      writeFileSync(join(sys, "class/kfd/kfd/topology/nodes", node, "gpu_id"), id);
    }
    const proc = join(dir, "gpu-proc");
    mkdirSync(join(proc, "driver/nvidia/gpus/0000:3b:00.0"), { recursive: true });
    expect(discoverTopology({ sys, proc, allowed: "all", env: {} }).gpus).toEqual([
      { vendor: "nvidia", id: "0000:3b:00.0" },
      { vendor: "amd", id: "kfd1" },
      { vendor: "amd", id: "kfd2" },
    ]);
  });

  test("this host: the CPUs of our mask, each once", () => {
    const topology = discoverTopology({ env: {} });
    expect(topology.cores.flatMap((core) => core.cpus).sort((a, b) => a - b)).toEqual(getAffinity());
    const [cpu = 0] = getAffinity();
    expect(withAffinity([cpu], () => discoverTopology({ env: {} })).cores.map((core) => core.cpus)).toEqual([[cpu]]);
  });

  test("XML written here is read back; hwloc's own says the same where it is installed", async () => {
    const topology = discoverTopology({ env: {} });
    const own = parseHwlocXml(systemXml());
    expect({ ...own, numaNodes: own.numaNodes.length }).toEqual({ ...topology, numaNodes: topology.numaNodes.length });
    expect(hostnameOfHwlocXml(systemXml())).toBe(hostname());
    expect(parseHwlocXml(await hwlocXml()).cores.map((core) => core.cpus)).toEqual(topology.cores.map((core) => core.cpus));
    const other = discoverTopology({ sys: fakeSystem("written", twisted), proc: dir, allowed: "all", env: {} });
    expect(parseHwlocXml(formatHwlocXml(other, { HostName: 'a"<&>' }))).toEqual(other);
    expect(hostnameOfHwlocXml(formatHwlocXml(other, { HostName: 'a"<&>' }))).toBe('a"<&>');
  });

  test("FLUX_HWLOC_XMLFILE stands in for the host", () => {
    const xml = `<topology version="2.0"><object type="Machine" cpuset="0x3"><object type="Core" cpuset="0x1"/><object type="Core" cpuset="0x2"/>
      <object type="PCIDev" pci_busid="0000:01:00.0"><object type="OSDev" name="cuda0"><info name="Backend" value="CUDA"/></object>
      <object type="OSDev" name="opencl0d0"><info name="Backend" value="OpenCL"/></object></object></object></topology>`;
    const file = join(dir, "topology.xml");
    writeFileSync(file, xml);
    const env = { FLUX_HWLOC_XMLFILE: file, FLUX_HWLOC_XMLFILE_NOT_THISSYSTEM: "1" };
    const topology = discoverTopology({ env });
    expect([topology.cores.length, topology.gpus]).toEqual([2, [{ vendor: "nvidia", id: "0000:01:00.0" }]]);
    expect(discoverTopology({ env: { ...env, FLUX_HWLOC_GPU_NO_DEDUP: "1" } }).gpus.map((gpu) => gpu.vendor)).toEqual(["nvidia", "other"]);
    expect(discoverTopology({ env: { FLUX_HWLOC_XMLFILE: file }, allowed: [1] }).cores.map((core) => core.cpus)).toEqual([[1]]);
    expect(failure(() => discoverTopology({ env: { FLUX_HWLOC_XMLFILE: "/none.xml" } })).message).toContain("/none.xml");
    for (const bad of ["", "<topology>", '<topology><object type="Core" cpuset="0x1">']) expect(failure(() => parseHwlocXml(bad)).errno).toBe(errno.EINVAL);
  });
});

describe("processes", () => {
  test("children and descendants", async () => {
    const up = Promise.withResolvers<void>();
    const child = spawnProcess({ argv: ["/bin/sh", "-c", "sleep 100 & echo up; wait"], newSession: true, stdout: "pipe", onStdout: () => up.resolve() });
    await up.promise;
    expect(childrenOf(process.pid).map((entry) => entry.pid)).toContain(child.pid);
    expect(descendantsOf(child.pid).map((entry) => [entry.ppid, entry.sid])).toEqual([[child.pid, child.pid]]);
    expect(readProcess(child.pid)).toMatchObject({ pid: child.pid, ppid: process.pid, pgid: child.pid, name: "sh" });
    child.killGroup(9);
    await child.exited;
  });

  test("the name of the host can be pretended", () => {
    expect(hostname({ FLUX_FAKE_HOSTNAME: "node7" })).toBe("node7");
    expect(hostname({})).toBe(readFileSync("/proc/sys/kernel/hostname", "utf8").trim());
  });
});

describe("terminals", () => {
  test("a child on a terminal of its own size, complete and with its status", async () => {
    let text = "";
    const child = spawnPty({ argv: ["/bin/sh", "-c", "test -t 0 && stty size; read -r x; echo got $x; seq 1 5000; exit 4"], size: { columns: 99, rows: 33 }, onData: (chunk) => (text += Buffer.from(chunk).toString()) });
    child.write("hello\n");
    expect(exitCode((await child.exited).status)).toBe(4);
    expect(text).toContain("33 99\r\n");
    expect(text).toContain("got hello\r\n");
    expect(text.trimEnd()).toEndWith("5000");
    expect(failure(() => child.write("x")).errno).toBe(errno.EPIPE);
    expect(failure(() => spawnPty({ argv: ["no-such-program"] })).errno).toBe(errno.ENOENT);
  });

  test("a pipe, /dev/null and what is closed are no terminals", () => {
    const [reading, writing] = pipe();
    const nowhere = openSync("/dev/null", "r");
    expect([reading, nowhere, 9999].map(isTerminal)).toEqual([false, false, false]);
    expect([windowSize(reading), columnsOf(reading)]).toEqual([undefined, 80]);
    closeFd(nowhere);
    closeFd(reading);
    closeFd(writing);
  });
});

function listen(at: string): Bun.UnixSocketListener<undefined> {
  return Bun.listen({ unix: at, socket: { data() {} } });
}

describe("paths", () => {
  test("directories are the user's alone, and go with all they hold", () => {
    const path = makeTemporaryDirectory("x-", dir);
    expect(statSync(path).mode & 0o777).toBe(0o700);
    mkdirSync(join(path, "a/b"), { recursive: true });
    symlinkSync(dir, join(path, "a/link"));
    removeDirectory(path);
    removeDirectory(path);
    expect(readdirSync(dir).filter((name) => name.startsWith("x-"))).toEqual([]);
    expect([claimDirectory(join(dir, "claimed")), claimDirectory(join(dir, "claimed"))]).toEqual([true, false]);
    expect(failure(() => claimDirectory(join(dir, "claimed"), 12345)).errno).toBe(errno.EPERM);
    expect(failure(() => makeTemporaryDirectory("x-", "/no/such")).errno).toBe(errno.ENOENT);
  });

  test("a socket has its mode, replaces a dead one, and too long a path says what to do", async () => {
    const path = join(dir, "local");
    const first = listenAt(path, 0o600, listen);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    first.stop(true);
    const second = listenAt(path, 0o666, listen);
    expect(statSync(path).mode & 0o777).toBe(0o666);
    second.stop(true);
    removeSocket(path);
    removeSocket(path);
    const long = failure(() => checkSocketPath(`/tmp/${"x".repeat(110)}`));
    expect([long.errno, long.message.includes("shorter")]).toEqual([errno.ENAMETOOLONG, true]);
    writeFileSync(join(dir, "file"), "");
    expect(failure(() => removeSocket(join(dir, "file"))).errno).toBe(errno.EEXIST);
  });
});

test("large temporary files go to /var/tmp, as /tmp may be in memory; TMPDIR is for all", () => {
  expect(spaciousRoot({})).toBe("/var/tmp");
  expect(spaciousRoot({ TMPDIR: "" })).toBe("/var/tmp");
  expect([spaciousRoot({ TMPDIR: "/scratch" }), temporaryRoot({ TMPDIR: "/scratch" })]).toEqual(["/scratch", "/scratch"]);
});
