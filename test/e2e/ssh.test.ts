// Connections to instances on other hosts: ssh:// URIs, flux relay, flux proxy and flux uri over them. ssh(1) is played by a script
// that runs its command on this host and keeps a record of how it was called.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { FLUX, flux as fluxAnywhere, type Instance, type Result, run, startInstance, userEnvironment } from "./flux.ts";

let instance: Instance;
let folder: string;
let path: string;

const SSH = `#!/bin/sh
echo "$@" >> "$0.calls"
[ "$1" = -p ] && shift 2
shift
unset FLUX_URI
echo $$ > "$0.pid"
exec sh -c "$*"
`;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "flux-ssh-"));
  script("ssh", SSH);
  instance = await startInstance(2);
  path = instance.uri.replace("local://", "");
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await instance.stop();
});

function script(name: string, text: string): string {
  const file = join(folder, name);
  writeFileSync(file, text);
  chmodSync(file, 0o755);
  return file;
}

/** Runs flux with a record of ssh's calls that is new. */
async function flux(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Result & { readonly calls: string[] }> {
  writeFileSync(join(folder, "ssh.calls"), "");
  const result = await fluxAnywhere(args, { env: { FLUX_SSH: join(folder, "ssh"), TMPDIR: folder, ...env }, cwd: folder });
  return { ...result, calls: readFileSync(join(folder, "ssh.calls"), "utf8").split("\n").slice(0, -1) };
}

const at = (host: string, more: Readonly<Record<string, string>> = {}) => ({ FLUX_URI: `ssh://${host}${path}`, ...more });

describe("a connection", () => {
  test("by ssh to flux relay, with the places where flux may be", async () => {
    const { stdout, stderr, calls } = await flux(["getattr", "size"], at("host2"));
    expect([stdout, stderr]).toEqual(["2\n", ""]);
    expect(calls).toEqual([`host2 env PATH=${dirname(path)}/bin:${dirname(FLUX)}:/bin:/usr/bin flux relay ${path}`]);
  });

  test("user, port, the other side's flux and its libraries", async () => {
    const { stdout, calls } = await flux(["getattr", "rank"], at("fred@host2:42", { FLUX_SSH_RCMD: FLUX, LD_LIBRARY_PATH: "/opt/my libs" }));
    expect(stdout).toBe("0\n");
    expect(calls).toEqual([`-p 42 fred@host2 env 'LD_LIBRARY_PATH=/opt/my libs' ${FLUX} relay ${path}`]);
  });

  test("jobs, events, and megabytes both ways", async () => {
    expect((await flux(["run", "-N2", "-l", "echo", "hello"], at("host2"))).stdout.split("\n").toSorted()).toEqual(["", "0: hello", "1: hello"]);
    writeFileSync(join(folder, "big"), "0123456789abcdef".repeat(2 << 20));
    const put = await fluxAnywhere(["kvs", "put", "--raw", "big=-"], { env: { FLUX_SSH: join(folder, "ssh"), ...at("host2") }, input: readFileSync(join(folder, "big")) });
    expect(put).toEqual({ stdout: "", stderr: "", code: 0 });
    const { stdout } = await flux(["kvs", "get", "--raw", "big"], at("host2"));
    expect(stdout.length).toBe(32 << 20);
    expect(Bun.hash(stdout)).toBe(Bun.hash(readFileSync(join(folder, "big"))));
  });

  test("what ssh and the other side say", async () => {
    const failure = async (env: Readonly<Record<string, string>>) => {
      const { stderr, code } = await flux(["getattr", "size"], env);
      expect(code).toBe(1);
      return stderr.replace("flux-getattr: Unable to connect to Flux: ", "");
    };
    expect(await failure(at("host2", { FLUX_SSH: "/nonexistent" }))).toBe("ssh-connector: /nonexistent: No such file or directory\nHint: set FLUX_SSH in environment to override\n");
    expect(await failure(at("host2", { FLUX_SSH: script("denied", "#!/bin/sh\necho Permission denied. >&2; exit 255\n") }))).toBe("Permission denied.\n");
    expect(await failure(at("host2", { FLUX_SSH_RCMD: script("greeting", `#!/bin/sh\necho Welcome!\nexec ${FLUX} "$@"\n`) }))).toBe(
      "Unable to establish clean ssh connection.\nHint: Check that shell init files do not write to stdout when non-interactive.\n",
    );
    expect(await failure({ FLUX_URI: "ssh://host2/nonexistent" })).toBe(`${hostname()}: local:///nonexistent: No such file or directory\n`);
    for (const uri of ["ssh://host2", `ssh://${path}`, `ssh://host2${path}?x=y`, `ssh://-oProxyCommand=x${path}`]) {
      expect(await failure({ FLUX_URI: uri })).toBe(`malformed URI '${uri}': expected ssh://[USER@]HOST[:PORT]/path/to/socket\n`);
    }
  });

  test("flux relay, called wrongly", async () => {
    expect(await fluxAnywhere(["relay"])).toEqual({ stdout: "", stderr: "flux relay: path argument is required\nUsage: flux relay PATH\n", code: 1 });
    expect((await fluxAnywhere(["relay", "--help"])).stdout).toContain("flux relay");
  });
});

describe("flux proxy", () => {
  const proxy = (command: string, ...options: string[]) => flux(["proxy", ...options, `ssh://host2${path}`, command]);

  test("many commands share one connection", async () => {
    const { stdout, calls } = await proxy("flux submit --cc=1-4 --quiet true; flux queue drain; flux jobs -a -n -o '{status}' | sort | uniq -c; echo $FLUX_PROXY_REMOTE");
    expect(stdout).toMatch(/^ +\d+ COMPLETED\nhost2\n$/);
    expect(calls.length).toBe(1);
  });

  test("events, services and requests that are under way belong to one client each", async () => {
    const { stdout } = await proxy(`
      flux event sub --count=2 a. > a & A=$!
      flux event sub --count=1 a.b > b & B=$!
      until [ -s b ] && [ $(wc -l < a) = 2 ]; do flux event pub a.b; flux event pub a.c; done
      wait $A $B; wc -l < a; cut -f1 b`);
    expect(stdout).toBe("2\na.b\n");
  });

  test("the terminal's signals leave it alone", async () => {
    const { stdout } = await run(["setsid", FLUX, "proxy", `ssh://host2${path}`, "trap '' INT QUIT TSTP; kill -INT 0; kill -QUIT 0; kill -TSTP 0; flux getattr size"], { env: { FLUX_SSH: join(folder, "ssh") } });
    expect(stdout).toBe("2\n");
  });

  test("the connection is lost: the command gets SIGHUP", async () => {
    const { stdout, stderr } = await proxy("trap 'echo hangup; exit 3' HUP; kill $(cat ssh.pid); while :; do sleep 0.05; done");
    expect(stdout).toBe("hangup\n");
    expect(stderr).toBe("flux-proxy: Lost connection to Flux\r\nflux-proxy: Sending SIGHUP to child processes\r\n");
  });

  test("--reconnect: who waits for an answer gets an error, who subscribed goes on", async () => {
    const { stdout, stderr, calls } = await proxy(
      `flux kvs put watched=1
       flux event sub again. > events & SUB=$!
       flux kvs get --watch watched > watcher 2>&1 & WATCH=$!
       until [ -s events ]; do flux event pub again.first; sleep 0.02; done
       until [ -s watcher ]; do sleep 0.02; done
       kill $(cat ssh.pid); wait $WATCH; cat watcher
       until flux getattr size 2>/dev/null; do sleep 0.05; done
       until grep -q second events; do flux event pub again.second; sleep 0.05; done
       kill $SUB; cut -f1 events | uniq`,
      "--reconnect",
    );
    expect(stdout).toMatch(/^1\nflux-kvs: watched: Connection reset by peer\n2\nagain\.first\nagain\.second\n$/);
    expect(stderr).toMatch(/^flux-proxy: broker: lost the connection to the Flux broker\r\nflux-proxy: reconnecting\r\nflux-proxy: reconnected\r\n$/);
    expect(calls.length).toBe(2);
  });
});

describe("flux uri", () => {
  test("?local and ?remote", async () => {
    const { stdout } = await instance.sh('flux uri "pid:$$?local"; flux uri "pid:$$?remote"; flux uri "pid:$$?local&remote" 2>&1');
    expect(stdout).toBe(`${instance.uri}\nssh://${hostname()}${path}\nflux-uri: ERROR: Only one of 'local' or 'remote' is allowed\n`);
  });

  test("jobs of an instance on another host, and the way back up", async () => {
    const { stdout } = await flux(
      ["proxy", `ssh://host2${path}`, `
      id=$(flux alloc --bg -N1)
      flux uri --local $id/
      flux proxy ssh://host2$(flux uri --local $id | sed s,local://,,) 'flux getattr parent-uri; flux uri /; flux --parent getattr instance-level'
      flux cancel $id; flux job wait-event $id clean`],
    );
    expect(stdout).toMatch(new RegExp(`^local://.*\n(ssh://host2${path}\n){2}0\n`));
  });

  test("lsf: the first node that csm_allocation_query names is asked", async () => {
    const query = script("query", "#!/bin/sh\n[ \"$2\" = 4711 ] || exit 1\nprintf 'state: x\\ncompute_nodes:\\n - lassen10\\n - lassen9\\n'\n");
    const env = { CSM_ALLOCATION_QUERY: query, FLUX_SSH_RCMD: script("far-flux", `#!/bin/sh\necho ssh://far$(echo "$*" | tr ' ' '_' | tr -d ':?')\n`) };
    const { stdout, calls } = await flux(["uri", "lsf:4711"], env);
    expect(stdout).toBe("ssh://faruri_--remote_lsf4711is_compute\n");
    expect(calls).toEqual([`lassen9 ${join(folder, "far-flux")} uri --remote 'lsf:4711?is_compute'`]);
    expect((await flux(["uri", "lsf:4712"], env)).stderr).toBe("flux-uri: ERROR: Unable to find a compute node attached to job 4712\n");
    expect((await flux(["uri", "lsf:4711"], { CSM_ALLOCATION_QUERY: "/nonexistent" })).stderr).toBe(
      "flux-uri: ERROR: LSF Job 4711 doesn't seem to have a FLUX_URI: /nonexistent: No such file or directory\n",
    );
  });

  test("lsf: on the node, a broker of the job is looked for", async () => {
    const child = Bun.spawn([FLUX, "start", 'flux uri "lsf:4711?is_compute"; flux uri "lsf:4712?is_compute"'], {
      env: userEnvironment({ TMPDIR: folder, LSB_JOBID: "4711" }),
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
    expect(stdout).toMatch(new RegExp(`^ssh://${hostname()}${folder}/flux-\\w+/local-0\n$`));
    expect(stderr).toContain("flux-uri: ERROR: Unable to find a broker of LSF job 4712 on this host");
  });

  test("slurm: without Slurm", async () => {
    expect((await flux(["uri", "slurm:1"], { PATH: "/nonexistent" })).stderr).toBe("flux-uri: ERROR: unable to query nodelist for Slurm job 1\n");
    expect((await flux(["uri", "slurm:-h"])).stderr).toBe("flux-uri: ERROR: '-h' is not the id of a Slurm job\n");
  });
});
