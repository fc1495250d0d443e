// A Slurm of four nodes on this host, for tests: its own daemons, ports and folder, run by whoever runs the test, without munge,
// cgroups or systemd. Tasks see the host's real name; SLURMD_NODENAME tells the nodes apart.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { userName } from "../../src/os/passwd.ts";
import { processesBelow, type Result, run, userEnvironment } from "./flux.ts";
import { freePorts } from "./launch.ts";

const NODES = ["node1", "node2", "node3", "node4"];
const USER = userName(process.getuid?.() ?? 0);
const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 10_000;

export interface Slurm {
  /** What a user of this Slurm has in the environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Runs srun, sbatch, squeue, … to its end. */
  run(argv: readonly string[], env?: Readonly<Record<string, string>>, cwd?: string): Promise<Result>;
  /** Cancels what runs, ends the daemons. Rejects when one of them stays. */
  stop(): Promise<void>;
}

export async function startSlurm(): Promise<Slurm> {
  const folder = mkdtempSync(join(tmpdir(), "slurm-e2e-"));
  for (const name of ["state", ...NODES.map((node) => `spool.${node}`)]) mkdirSync(join(folder, name));
  writeFileSync(join(folder, "plugstack.conf"), "");
  writeFileSync(join(folder, "slurm.conf"), configuration(folder));
  const env = { SLURM_CONF: join(folder, "slurm.conf"), PATH: `${userEnvironment()["PATH"]}:/usr/sbin:/sbin` };
  const daemons = [["slurmctld", "-D", "-i"], ...NODES.map((node) => ["slurmd", "-D", "-N", node])].map((argv) =>
    Bun.spawn(argv, { env: userEnvironment(env), cwd: folder, stdin: "ignore", stdout: "ignore", stderr: "ignore" }),
  );
  const slurm: Slurm = {
    env,
    run: (argv, more = {}, cwd = "/") => run(argv, { env: { ...env, ...more }, cwd }),
    async stop() {
      await run(["scancel", `--user=${USER}`], { env });
      for (const daemon of daemons) daemon.kill("SIGTERM");
      const killer = setTimeout(() => daemons.forEach((daemon) => daemon.kill("SIGKILL")), STOP_TIMEOUT_MS);
      await Promise.all(daemons.map((daemon) => daemon.exited));
      clearTimeout(killer);
      const left = processesBelow(`SLURM_CONF=${env.SLURM_CONF}`);
      rmSync(folder, { recursive: true, force: true });
      if (left.length > 0) throw new Error(`Slurm left processes behind: ${left.join("; ")}`);
    },
  };
  await untilIdle(slurm, folder);
  return slurm;
}

async function untilIdle(slurm: Slurm, folder: string): Promise<void> {
  const end_ms = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    const { stdout } = await slurm.run(["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"]);
    if (stdout.trim().split("\n").length === NODES.length) return;
    if (Date.now() > end_ms) {
      const file = join(folder, "slurmctld.log");
      const log = existsSync(file) ? readFileSync(file, "utf8") : "slurmctld wrote no log";
      await slurm.stop();
      throw new Error(`Slurm has only these nodes: ${stdout}\n${log}`);
    }
    await Bun.sleep(50);
  }
}

function configuration(folder: string): string {
  const [control, ...ports] = freePorts(1 + NODES.length);
  const [host] = hostname().split(".");
  const shape = "CPUs=16 Boards=1 SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=1 RealMemory=4000";
  return `ClusterName=try
SlurmctldHost=${host}(127.0.0.1)
SlurmUser=${USER}
SlurmdUser=${USER}
AuthType=auth/none
CredType=cred/none
SlurmctldPort=${control}
StateSaveLocation=${folder}/state
SlurmdSpoolDir=${folder}/spool.%n
SlurmctldPidFile=${folder}/slurmctld.pid
SlurmdPidFile=${folder}/slurmd.%n.pid
SlurmctldLogFile=${folder}/slurmctld.log
SlurmdLogFile=${folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
PlugStackConfig=${folder}/plugstack.conf
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=1000
${NODES.map((node, i) => `NodeName=${node} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${ports[i]} ${shape}`).join("\n")}
PartitionName=p Nodes=node[1-4] Default=YES MaxTime=INFINITE State=UP
`;
}
