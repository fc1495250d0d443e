// flux modprobe: modules with what they require, and the rc files of the broker (flux-modprobe(1)).
import { readConfigFile } from "../broker/config.ts";
import { Modprobe } from "../broker/modprobe/modprobe.ts";
import type { Order } from "../broker/modprobe/plan.ts";
import { importRcFile, type RcFile } from "../broker/modprobe/rc-file.ts";
import { RC1 } from "../broker/modprobe/rc1.ts";
import { RC3 } from "../broker/modprobe/rc3.ts";
import { rcFiles, type RunLevel, tableFiles } from "../broker/modprobe/search-path.ts";
import { describeModule } from "../broker/modprobe/task.ts";
import type { Flux } from "../client/flux.ts";
import { kvsCommit, putJson } from "../client/kvs.ts";
import { errno, isErrno, toFluxError } from "../message/errno.ts";
import { defineCommand, flag, list, UsageError } from "./command.ts";
import { withFlux } from "./connect.ts";
import { print, printError } from "./output.ts";
import { spacedJson } from "./spaced-json.ts";
import { PythonHost } from "./modprobe/python-host.ts";

interface RunOptions {
  readonly dryRun: boolean;
  readonly verbose: boolean;
}

const dryRun = flag("--dry-run", "print what would be done");
const verbose = flag("-v, --verbose", "say what is read, started and done");
const showDeps = flag("--show-deps", "print tasks and what runs before each as JSON, and do nothing");
const alternatives = {
  alternative: list("-S, --set-alternative NAME=MODULE", "take MODULE for the service NAME"),
  disable: list("-D, --disable NAME", "take it that NAME is disabled"),
} as const;

/** Modprobe with the tables of this site and instance. */
async function newModprobe(h: Flux, { dryRun: isDry, verbose: isVerbose }: RunOptions = { dryRun: false, verbose: false }): Promise<Modprobe> {
  const say = isVerbose ? printError : undefined;
  const modprobe = new Modprobe(h, {
    rank: Number(await h.attr("rank")),
    dryRun: isDry,
    ...(say !== undefined && { verbose: say }),
    print,
    report: (task, error) => printError(`${task.name}: ${error.message}`),
  });
  for (const file of tableFiles(process.env, (place) => say?.(`checking ${place}`))) {
    say?.(`loading ${file}`);
    await applyTable(modprobe, file);
  }
  await modprobe.applyConfig();
  return modprobe;
}

async function applyTable(modprobe: Modprobe, file: string): Promise<void> {
  const table = await readConfigFile(file);
  try {
    modprobe.tasks.apply(table);
  } catch (err) {
    throw new UsageError(`${file}: ${toFluxError(err).message}`);
  }
}

const load = defineCommand({
  name: "load",
  style: "argparse",
  summary: "load modules and what they require",
  usage: "[-h] [--dry-run] MODULE [MODULE ...]",
  options: { dryRun },
  async run({ options, args }) {
    needModule(args, "load");
    return withFlux(async (h) => {
      const modprobe = await newModprobe(h, { ...options, verbose: false });
      modprobe.disable();
      try {
        return exitCode(await modprobe.load(args));
      } catch (err) {
        if (!isErrno(err, errno.EEXIST)) throw err;
        printError(`flux-modprobe: INFO: ${toFluxError(err).message}`);
        return 0;
      }
    });
  },
});

const remove = defineCommand({
  name: "remove",
  style: "argparse",
  summary: "remove modules and what nobody requires any more",
  usage: "[-h] [--dry-run] MODULE [MODULE ...]",
  details: "Remove modules, and modules that nobody requires any more then. The name 'all' stands for all of them.",
  options: { dryRun },
  async run({ options, args }) {
    needModule(args, "remove");
    return withFlux(async (h) => exitCode(await (await newModprobe(h, { ...options, verbose: false })).remove(args)));
  },
});

function needModule(args: readonly string[], name: string): void {
  if (args.length === 0) throw new UsageError(`${name}: the following arguments are required: MODULE`, 2);
}

const run = defineCommand({
  name: "run",
  style: "argparse",
  summary: "run an rc file",
  usage: "[-h] [--show-deps] [-v] [--dry-run] FILE",
  details: "Run the tasks of an rc file in TypeScript, JavaScript or Python.\n\nExample: flux modprobe run ./rc1.ts",
  options: { showDeps, verbose, dryRun },
  async run({ options, args }) {
    const [file] = args;
    if (file === undefined || args.length > 1) throw new UsageError("run: one FILE is required", 2);
    return runTasks(options, [file], { showDeps: options.showDeps });
  },
});

const rc1 = defineCommand({
  name: "rc1",
  style: "argparse",
  summary: "bring up the modules of an instance, as the broker does when it starts",
  usage: "[-h] [--timing] [--show-deps] [-v] [--dry-run]",
  options: { timing: flag("--timing", "leave the times of tasks in the KVS at modprobe.stats"), showDeps, verbose, dryRun },
  run: ({ options }) => runTasks(options, siteFiles("rc1", options.verbose), { own: RC1, showDeps: options.showDeps, timing: options.timing }),
});

const rc3 = defineCommand({
  name: "rc3",
  style: "argparse",
  summary: "take the modules of an instance down, as the broker does when it ends",
  usage: "[-h] [-v] [--dry-run]",
  options: { verbose, dryRun },
  run: ({ options }) => runTasks(options, siteFiles("rc3", options.verbose), { own: RC3, removeAll: true }),
});

function siteFiles(level: RunLevel, isVerbose: boolean): string[] {
  return rcFiles(level, process.env, (place) => isVerbose && printError(`checking ${place}`));
}

interface TaskRun {
  readonly own?: RcFile;
  readonly removeAll?: boolean;
  readonly showDeps?: boolean;
  readonly timing?: boolean;
}

async function runTasks(options: RunOptions, files: readonly string[], { own, removeAll, showDeps: isShow, timing }: TaskRun): Promise<number> {
  const python = new PythonHost();
  try {
    return await withFlux(async (h) => {
      const modprobe = await newModprobe(h, options);
      if (removeAll) await modprobe.removeLater();
      if (own !== undefined) await modprobe.addFile(own);
      for (const file of files) {
        modprobe.context.print(`loading ${file}`);
        await modprobe.addFile(await (file.endsWith(".py") ? python.load(file) : importRcFile(file)));
      }
      modprobe.disable();
      const order = await modprobe.plan();
      if (isShow) return showOrder(order);
      const ok = await modprobe.run(order);
      if (timing && modprobe.context.rank === 0) await kvsCommit(h, [putJson("modprobe.stats", modprobe.timing.map((entry) => ({ ...entry })))]);
      return exitCode(ok);
    });
  } finally {
    await python.close();
  }
}

function showOrder(order: Order): number {
  print(spacedJson(Object.fromEntries([...order].map(([name, before]) => [name, [...before]]))));
  return 0;
}

function exitCode(ok: boolean): number {
  return ok ? 0 : 1;
}

const show = defineCommand({
  name: "show",
  style: "argparse",
  summary: "print what is known of a module",
  usage: "[-h] [-S NAME=MODULE] [-D NAME] MODULE",
  options: alternatives,
  async run({ options, args }) {
    const [name] = args;
    if (name === undefined || args.length > 1) throw new UsageError("show: one MODULE is required", 2);
    return withFlux(async (h) => {
      const modprobe = await chosen(h, options);
      print(spacedJson(describeModule(await modprobe.resolve(name))));
      return 0;
    });
  },
});

async function chosen(h: Flux, options: { alternative: readonly string[]; disable: readonly string[] }): Promise<Modprobe> {
  const modprobe = await newModprobe(h);
  for (const entry of options.alternative) {
    const [, name, module] = /^([^=]+)=(.*)$/s.exec(entry) ?? [];
    if (name === undefined || module === undefined) throw new UsageError(`--set-alternative: invalid value '${entry}'`);
    modprobe.tasks.setAlternative(name, module);
  }
  modprobe.disable(options.disable);
  return modprobe;
}

const listDependencies = defineCommand({
  name: "list-dependencies",
  style: "argparse",
  summary: "show what a module requires, as a tree",
  usage: "[-h] [-S NAME=MODULE] [-D NAME] [-f] MODULE",
  options: { ...alternatives, full: flag("-f, --full", "show what was shown already, too") },
  async run({ options, args }) {
    const [name] = args;
    if (name === undefined || args.length > 1) throw new UsageError("list-dependencies: one MODULE is required", 2);
    return withFlux(async (h) => {
      print(...treeLines(dependencies(await chosen(h, options), name, options.full)));
      return 0;
    });
  },
});

interface Tree {
  label: string;
  readonly children: Tree[];
}

/** Breadth first, so that what several require is shown near the top. */
function dependencies(modprobe: Modprobe, name: string, full: boolean): Tree {
  const root: Tree = { label: name, children: [] };
  const seen = new Set<string>();
  for (const tree of walk(root)) {
    const task = modprobe.tasks.preferred(tree.label);
    if (!full) seen.add(task.name);
    for (const required of task.requires) {
      if (seen.has(required)) continue;
      if (!full) seen.add(required);
      tree.children.push({ label: required, children: [] });
    }
    if (task.name !== tree.label) tree.label += ` (${task.name})`;
  }
  return root;
}

/** Every tree below `root`, level by level, also those that are added meanwhile. */
function* walk(root: Tree): Iterable<Tree> {
  const queue = [root];
  for (const tree of queue) {
    yield tree;
    queue.push(...tree.children);
  }
}

function treeLines({ label, children }: Tree): string[] {
  const below = children.flatMap((child, i) => {
    const isLast = i === children.length - 1;
    return treeLines(child).map((line, n) => (n === 0 ? `${isLast ? "└── " : "├── "}${line}` : `${isLast ? "    " : "│   "}${line}`));
  });
  return [label, ...below];
}

export default defineCommand({
  name: "modprobe",
  style: "argparse",
  summary: "load and remove modules with what they require, and run rc files",
  subcommands: [load, remove, run, rc1, rc3, listDependencies, show],
});
