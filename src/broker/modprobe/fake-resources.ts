// The table [fake-resources] (flux-config-fake-resources(5)): R of nodes that don't exist, for tests of schedulers and tools at
// sizes that nobody has. Written to the KVS before the resource module is loaded, which takes it from there.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { type ModprobeContext, task } from "../../client/modprobe.ts";
import { kvsCommit, putJson } from "../../client/kvs.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { IdSet } from "../../formats/idset.ts";
import { decodeJsonObject, isJsonObject, type JsonObject } from "../../formats/json.ts";
import { Rset } from "../../formats/rset.ts";
import { errno, FluxError, toFluxError } from "../../message/errno.ts";
import { def, fields, opt, str, uint } from "../../message/unpack.ts";
import { parseHwlocXml } from "../../os/hwloc-xml.ts";
import { selfCommand } from "../../os/self.ts";
import { collectOutput } from "../../os/spawn.ts";
import { writeStderr } from "../../os/stderr.ts";
import { checkReadable } from "./rc-file.ts";

const TABLE = fields({
  nnodes: opt(uint),
  "cores-per-node": def(uint, 64),
  "gpus-per-node": def(uint, 0),
  "host-prefix": def(str, "fake"),
  "hwloc-xml-path": opt(str),
  "amend-r": opt(str),
});
const KEYS = ["nnodes", "cores-per-node", "gpus-per-node", "host-prefix", "hwloc-xml-path", "amend-r"];
const NODES_MAX = 1 << 20;
const PER_NODE_MAX = 1 << 16;
/** They are neither there to be seen, nor to be compared with. */
const MODULE_OPTIONS = "monitor-force-up noverify";

/** Calls a Python function, named as MODULE:FUNCTION or by its file, with R from stdin and the text of an XML file; prints R. */
const PYTHON_AMENDER = `
import importlib, importlib.util, json, sys
name, xml = sys.argv[1], None
if len(sys.argv) > 2:
    with open(sys.argv[2]) as file:
        xml = file.read()
out, sys.stdout = sys.stdout, sys.stderr
if ":" in name:
    module, _, function = name.partition(":")
    amend = getattr(importlib.import_module(module), function)
else:
    spec = importlib.util.spec_from_file_location("amender", name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    amend = module.amend
json.dump(amend(json.load(sys.stdin), hwloc_xml=xml), out)
`;

export interface FakeResources {
  readonly nodes: number;
  readonly cores: number;
  readonly gpus: number;
  readonly hostPrefix: string;
  readonly xmlPath: string | undefined;
  readonly amender: string | undefined;
}

/** Throws FluxError EINVAL. */
export function parseFakeResources(value: unknown): FakeResources {
  const where = "[fake-resources]";
  const table = TABLE(value, where);
  const unknown = Object.keys(value as JsonObject).find((key) => !KEYS.includes(key));
  if (unknown !== undefined) throw new FluxError(errno.EINVAL, `${where} has an unknown key ${unknown}`);
  const { nnodes, "cores-per-node": cores, "gpus-per-node": gpus } = table;
  if (nnodes === undefined) throw new FluxError(errno.EINVAL, `${where} needs the key nnodes, the number of nodes`);
  if (nnodes < 1 || nnodes > NODES_MAX) throw new FluxError(errno.EINVAL, `${where} nnodes must be from 1 to ${NODES_MAX}`);
  if (cores > PER_NODE_MAX || gpus > PER_NODE_MAX) throw new FluxError(errno.EINVAL, `${where} a node can have ${PER_NODE_MAX} cores and GPUs`);
  return { nodes: nnodes, cores, gpus, hostPrefix: table["host-prefix"], xmlPath: table["hwloc-xml-path"], amender: table["amend-r"] };
}

/** R of these nodes; `xml` is what one of them looks like. Throws FluxError. */
export function fakeR({ nodes, cores, gpus, hostPrefix }: FakeResources, xml: string | undefined): JsonObject {
  const topology = xml === undefined ? undefined : parseHwlocXml(xml);
  const node = { cores: firstIds(topology?.cores.length ?? cores), gpus: firstIds(topology?.gpus.length ?? gpus) };
  const hosts = Hostlist.parse(`${hostPrefix}[0-${nodes - 1}]`);
  const set = new Rset();
  let rank = 0;
  for (const host of hosts) set.add(rank++, { ...node, host });
  return set.encode();
}

function firstIds(count: number): IdSet {
  return count === 0 ? new IdSet() : IdSet.range(0, count - 1);
}

/** R as a site's function changes it: `amend(R, xml)` of a file in JavaScript or TypeScript, else a function in Python. */
export async function amendR(R: JsonObject, amender: string, xmlPath: string | undefined, xml: string | undefined): Promise<JsonObject> {
  const amended = /\.[mc]?[jt]s$/.test(amender) ? await amendInScript(R, amender, xml) : await amendInPython(R, amender, xmlPath);
  if (!isJsonObject(amended)) throw new FluxError(errno.EINVAL, `amend-r: ${amender} must return R`);
  return amended;
}

async function amendInScript(R: JsonObject, file: string, xml: string | undefined): Promise<unknown> {
  checkReadable(file);
  try {
    const { amend } = (await import(pathToFileURL(resolve(file)).href)) as { amend?: unknown };
    if (typeof amend !== "function") throw new Error("it exports no function amend");
    return await (amend as (R: JsonObject, xml?: string) => unknown)(R, xml);
  } catch (err) {
    throw new FluxError(errno.EINVAL, `amend-r: ${file}: ${toFluxError(err).message}`, { cause: err });
  }
}

async function amendInPython(R: JsonObject, name: string, xmlPath: string | undefined): Promise<unknown> {
  const argv = [...selfCommand(), "python", "-c", PYTHON_AMENDER, name, ...(xmlPath === undefined ? [] : [xmlPath])];
  const { status, stdout, stderr } = await collectOutput({ argv, input: JSON.stringify(R) });
  if (stderr !== "") writeStderr(stderr);
  if (status !== 0) throw new FluxError(errno.EINVAL, `amend-r: ${name} failed`);
  return decodeJsonObject(stdout);
}

export const fakeResources = task("fake-resources", { ranks: "0", after: ["kvs"], before: ["resource"], needsConfig: ["fake-resources"] }, async (context: ModprobeContext) => {
  const config = parseFakeResources(await context.config("fake-resources"));
  const { xmlPath, amender } = config;
  const xml = xmlPath === undefined ? undefined : await readXml(xmlPath);
  const R = fakeR(config, xml);
  await kvsCommit(context.handle, [putJson("resource.R", amender === undefined ? R : await amendR(R, amender, xmlPath, xml))]);
  context.setOption("resource", MODULE_OPTIONS, true);
});

async function readXml(path: string): Promise<string> {
  checkReadable(path);
  return await Bun.file(path).text();
}
