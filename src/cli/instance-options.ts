// What `flux alloc` and `flux batch` have in common: the options that say how large a nested instance is, and its jobspec.
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { applyConfValue, isFileName } from "../broker/config.ts";
import { IdSet } from "../formats/idset.ts";
import { isJsonObject, type JsonObject } from "../formats/json.ts";
import { type InstanceOptions, type Jobspec, setShellOption, SLOTS_MISSING } from "../formats/jobspec.ts";
import { errno, FluxError } from "../message/errno.ts";
import { counter, flag, hidden, list, optional, type OptionValues, UsageError, value } from "./command.ts";
import { integer } from "./options.ts";
import { finishJobspec } from "./submission-plugins.ts";
import { applyResources, applySubmissionOptions, asUsageError, settingsOf, SUBMISSION_OPTIONS } from "./submission.ts";

export const DUMP_DEFAULT = "flux-{{jobid}}-dump.tgz";

/** What is too small is refused with the others, by name. */
const wholeNumber = integer(Number.NEGATIVE_INFINITY);

const { input: _input, output: _output, error: _error, labelIo: _labelIo, ...WITHOUT_IO } = SUBMISSION_OPTIONS;

const SIZE_OPTIONS = {
  nslots: value("-n, --nslots N", "number of slots; default: one on each node, which are whole then", wholeNumber),
  coresPerSlot: value("-c, --cores-per-slot N", "cores of each slot (default 1)", wholeNumber),
  gpusPerSlot: value("-g, --gpus-per-slot N", "GPUs of each slot", wholeNumber),
  nodes: value("-N, --nodes N", "number of nodes, over which slots are distributed", wholeNumber),
  exclusive: flag("-x, --exclusive", "with --nodes: whole nodes"),
  conf: list("--conf CONF", "configuration of the instance: KEY=VALUE, TOML or JSON text, a file, or the name of one in flux/config of $XDG_CONFIG_HOME (repeatable)"),
  brokerOpts: list("--broker-opts OPTS", "options for its brokers, separated by commas (repeatable)"),
  dump: optional("--dump [FILE]", `write its key-value store to FILE when it ends (default ${DUMP_DEFAULT})`, DUMP_DEFAULT),
  verbose: counter("-v, --verbose", "say more on stderr (repeatable)"),
  addBrokers: hidden(value("--add-brokers N", "with --nodes: so many brokers more on the first node, which get no jobs, to try a larger tree", wholeNumber)),
} as const;

/** Options of alloc: a terminal has no files for input and output. */
export const ALLOC_OPTIONS = { ...WITHOUT_IO, ...SIZE_OPTIONS } as const;
export const BATCH_OPTIONS = { ...SUBMISSION_OPTIONS, ...SIZE_OPTIONS } as const;

export type AllocOptions = OptionValues<typeof ALLOC_OPTIONS>;
export type BatchOptions = OptionValues<typeof BATCH_OPTIONS>;

/** The jobspec of an instance; `make` is given what the options say. Throws UsageError. */
export async function instanceJobspec(
  options: AllocOptions,
  files: Partial<Pick<BatchOptions, "input" | "output" | "error" | "labelIo">>,
  make: (common: Omit<InstanceOptions, "command">) => Jobspec,
): Promise<Jobspec> {
  const shaped = options.resourcesShape !== undefined || options.resourcesJson !== undefined;
  // What a shape says takes the place of a node.
  const nodes = options.nodes ?? (shaped && options.nslots === undefined ? 1 : undefined);
  if (nodes !== undefined && nodes < 1) throw new UsageError("node count must be an integer >= 1 (if set)");
  const nslots = options.nslots || undefined;
  if (nslots === undefined && nodes === undefined) throw new UsageError(SLOTS_MISSING);
  const brokerOptions = options.brokerOpts.flatMap((opts) => opts.split(",")).filter((word) => word !== "");
  if (options.dump !== undefined) brokerOptions.push(`-Scontent.dump=${options.dump}`);
  const more = options.addBrokers ?? 0;
  if (more > 0 && nodes === undefined) throw new UsageError("--add-brokers may only be specified with -N, --nodes");
  const config = await configOf(more > 0 ? [...options.conf, await excludingFirst(more, options.conf)] : options.conf);
  let jobspec: Jobspec;
  try {
    jobspec = make({
      ...settingsOf({ ...options, ...files }),
      nslots: nslots ?? nodes,
      nodes,
      coresPerSlot: options.coresPerSlot || undefined,
      gpusPerSlot: options.gpusPerSlot,
      exclusive: options.exclusive || nslots === undefined,
      brokerOptions,
      config,
    });
  } catch (err) {
    throw asUsageError(err);
  }
  if (more > 0) addBrokers(jobspec, nodes ?? 0, more);
  await applyResources(jobspec, options);
  await applySubmissionOptions(jobspec, options);
  await finishJobspec(options, jobspec);
  return jobspec;
}

/** The brokers after rank 0 that are there for the tree only, beside those that are excluded anyway. */
async function excludingFirst(count: number, conf: readonly string[]): Promise<string> {
  const { resource } = (await configOf(conf)) ?? {};
  const given = isJsonObject(resource) ? resource["exclude"] : undefined;
  const text = typeof given === "string" || typeof given === "number" ? String(given) : "";
  let excluded: IdSet;
  try {
    excluded = text === "" ? new IdSet() : IdSet.parse(text);
  } catch {
    throw new UsageError(`--add-brokers: resource.exclude names ranks, not hosts, then: ${text}`);
  }
  return `resource.exclude="${excluded.union(IdSet.range(1, count)).toString()}"`;
}

function addBrokers(jobspec: Jobspec, nodes: number, more: number): void {
  const rest = nodes > 1 ? `,[1,${nodes - 1},1,1]` : "";
  setShellOption(jobspec, "taskmap", { scheme: "manual", value: `[[0,1,${1 + more},1]${rest}]` });
  setShellOption(jobspec, "per-resource", undefined);
  const [task] = jobspec.tasks;
  if (task !== undefined) task.count = { total: nodes + more };
}

async function configOf(values: readonly string[]): Promise<JsonObject | undefined> {
  if (values.length === 0) return undefined;
  let config: JsonObject = {};
  for (const value of values) {
    const path = filePath(value);
    try {
      config = await applyConfValue(config, path ?? value);
    } catch (err) {
      throw new UsageError(`--conf${path === undefined || path === value ? "" : `=${value}`}: ${problemOf(err, path ?? value, path !== undefined)}`);
    }
  }
  return config;
}

/** The file that a value of --conf names: a path, or the name of one in the user's or the site's configuration; undefined when it is no file. */
function filePath(value: string): string | undefined {
  if (!isFileName(value)) return undefined;
  if (/\.(?:toml|json)$/.test(value) || value.includes("/")) return value;
  const found = configFolders().flatMap((folder) => [`${folder}/${value}.toml`, `${folder}/${value}.json`]).find((path) => existsSync(path));
  if (found === undefined) throw new UsageError(`--conf: named config '${value}' not found`);
  return found;
}

/** The folders of named configurations, the user's first. */
function configFolders(): string[] {
  const { XDG_CONFIG_DIRS: dirs, XDG_CONFIG_HOME: home } = process.env;
  return [home || `${homedir()}/.config`, ...(dirs || "/etc/xdg").split(":")].map((folder) => `${folder}/flux/config`);
}

function problemOf(err: unknown, value: string, isFile: boolean): string {
  if (!(err instanceof FluxError)) return err instanceof Error ? err.message : String(err);
  if (err.errno !== errno.EINVAL) return err.message;
  if (isFile) return `parse error: ${err.message}`;
  return value.includes("\n") ? `failed to parse multiline as TOML or JSON: ${err.message}` : err.message;
}
