// Where an instance is: what `flux uri` and `flux proxy` make of a job id, a path of job ids, a process or a URI.
//
//   ƒ1  jobid:ƒ1/ƒ2  /ƒ1  ..  .      by the URI that a nested instance's broker leaves with its job
//   pid:1234                         of the broker, or of the program, with this process id
//   slurm:1234  lsf:1234             of a job of another system that runs an instance
//   local:///…  ssh://HOST/…         as they are
import { Flux } from "../client/flux.ts";
import { STATE } from "../client/jobs.ts";
import type { JobId } from "../formats/fluid.ts";
import { FormatError } from "../formats/error.ts";
import { isJsonObject, type Json } from "../formats/json.ts";
import { localUri, parseJobPath, parseUri, remoteUri } from "../formats/uri.ts";
import { errno, isErrno } from "../message/errno.ts";
import { hostname } from "../os/hostname.ts";
import { UsageError } from "./command.ts";
import { eventOfResponse } from "./job-output.ts";
import { uriOfProcess } from "./uri-process.ts";

export interface ResolveOptions {
  /** Wait for an instance that is only starting. */
  readonly wait?: boolean;
}

/** For help: the schemes that are understood. */
export const SCHEMES: readonly (readonly [scheme: string, text: string])[] = [
  ["jobid", "a job that is an instance, or a path of such jobs (the default)"],
  ["pid", "the instance of the process with this id"],
  ["slurm", "the instance that is a job of Slurm"],
  ["lsf", "the instance that is a job of IBM Spectrum LSF"],
  ["local, ssh", "URIs that need no resolving"],
];

/** The URI of the instance that `target` means. `open` gives the handle of the enclosing instance where that is needed. Throws UsageError. */
export async function resolveInstance(target: string, open: () => Promise<Flux>, options: ResolveOptions = {}): Promise<string> {
  const scheme = /^([A-Za-z][\w+.-]*):/.exec(target)?.[1] ?? "jobid";
  if (scheme === "local" || scheme === "ssh") return target;
  const body = target.replace(/^[A-Za-z][\w+.-]*:/, "");
  const [rest = "", search = ""] = body.split(/\?(.*)/s);
  const query = search.split("&");
  const [isLocal, isRemote] = [query.includes("local"), query.includes("remote")];
  if (isLocal && isRemote) throw new UsageError("Only one of 'local' or 'remote' is allowed");
  const uri = await resolve(scheme, rest, query, open, options.wait === true);
  if (isLocal) return localUri(uri);
  return isRemote ? asRemote(uri) : uri;
}

async function resolve(scheme: string, text: string, query: readonly string[], open: () => Promise<Flux>, wait: boolean): Promise<string> {
  switch (scheme) {
    case "jobid":
      return followPath(text, open, wait || query.includes("wait"));
    case "pid":
      return uriOfProcess(text);
    case "slurm":
      return asRemote(await (await import("./uri-slurm.ts")).uriOfSlurmJob(text));
    case "lsf":
      return asRemote(await (await import("./uri-lsf.ts")).uriOfLsfJob(text, query.includes("is_compute")));
    default:
      throw new UsageError(`No plugin for URI scheme ${scheme}`);
  }
}

/** As it is reached from other hosts. */
export function asRemote(uri: string): string {
  return parseUri(uri).scheme === "local" ? remoteUri(uri, hostname(process.env)) : uri;
}

/** A handle on the instance at a URI; one on this host is reached directly. */
export async function openInstance(uri: string): Promise<Flux> {
  return Flux.open(reachableUri(uri));
}

/** The local form of a URI of this host, which needs no ssh. With FLUX_URI_RESOLVE_LOCAL set, every host counts as this one. */
export function reachableUri(uri: string): string {
  const { scheme, user, host, port } = parseUri(uri);
  if (scheme !== "ssh") return uri;
  const isHere = user === undefined && port === undefined && [hostname(process.env), hostname({}), "localhost"].includes(host ?? "");
  return isHere || process.env["FLUX_URI_RESOLVE_LOCAL"] !== undefined ? localUri(uri) : uri;
}

async function followPath(path: string, open: () => Promise<Flux>, wait: boolean): Promise<string> {
  let steps: readonly (JobId | "..")[] = [];
  let absolute = path.startsWith("/");
  if (path.replaceAll("/", "") !== "") {
    try {
      ({ steps, absolute } = parseJobPath(path));
    } catch (err) {
      if (!(err instanceof FormatError)) throw err;
      throw new UsageError(`${path} is not a valid jobid`);
    }
  }
  let h = await open();
  let host: string | undefined;
  let uri = await h.attr("local-uri");
  const words = path.split("/").filter((word) => word !== "" && word !== ".");
  try {
    if (absolute) uri = await rootUri(h);
    for (const [index, step] of steps.entries()) {
      if (index > 0 || absolute) {
        h.close();
        h = await openInstance(uri);
      }
      uri = step === ".." ? await parentUri(h, host) : await uriOfJob(h, step, words[index] ?? "", wait && index === 0);
      if (step !== "..") host = parseUri(uri).host;
    }
  } finally {
    h.close();
  }
  return uri;
}

async function parentUri(h: Flux, host: string | undefined): Promise<string> {
  const uri = await h.attr(Number(await h.attr("instance-level")) > 0 ? "parent-uri" : "local-uri");
  return host === undefined ? uri : remoteUri(localUri(uri), host);
}

/** `reached`: the URI by which `h` was opened when it isn't the enclosing instance. */
async function rootUri(h: Flux, reached?: string): Promise<string> {
  if (Number(await h.attr("instance-level")) === 0) return reached ?? h.attr("local-uri");
  const uri = await h.attr("parent-uri");
  const parent = await openInstance(uri);
  try {
    return await rootUri(parent, uri);
  } finally {
    parent.close();
  }
}

async function uriOfJob(h: Flux, id: JobId, word: string, wait: boolean): Promise<string> {
  try {
    const uri = wait ? await awaitUri(h, id) : await listedUri(h, id, word);
    if (uri === undefined || uri === "") throw new UsageError(`URI not found for job ${word}`);
    return uri;
  } catch (err) {
    if (isErrno(err, errno.ENOENT)) throw new UsageError(`jobid ${word} not found`);
    throw err;
  }
}

async function listedUri(h: Flux, id: JobId, word: string): Promise<string | undefined> {
  const { job } = await h.rpc("job-list.list-id", { id, attrs: ["state", "annotations"] });
  if (!isJsonObject(job) || job["state"] !== STATE.RUN) throw new UsageError(`jobid ${word} is not running`);
  const annotations: Json | undefined = job["annotations"];
  const user = isJsonObject(annotations) ? annotations["user"] : undefined;
  const uri = isJsonObject(user) ? user["uri"] : undefined;
  return typeof uri === "string" ? uri : undefined;
}

/** Of the job's events: the memo with its URI, or its end. */
async function awaitUri(h: Flux, id: JobId): Promise<string | undefined> {
  const events = h.stream("job-info.eventlog-watch", { id, path: "eventlog", flags: 0 }, { cancelTopic: "job-info.eventlog-watch-cancel" });
  for await (const response of events) {
    const event = eventOfResponse(response);
    const uri = event?.name === "memo" ? event.context?.["uri"] : undefined;
    if (typeof uri === "string") return uri;
    if (event?.name === "finish") return undefined;
  }
  return undefined;
}
