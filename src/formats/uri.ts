// URIs of instances: local:///run/flux/local, ssh://host/run/flux/local, loop://, and the ids by which `flux uri` finds them.

import { FormatError } from "./error.ts";
import { parseJobId, type JobId } from "./fluid.ts";

export interface FluxUri {
  readonly scheme: string;
  readonly user: string | undefined;
  readonly host: string | undefined;
  readonly port: number | undefined;
  /** As written: socket paths are not percent-encoded. */
  readonly path: string;
  readonly query: ReadonlyMap<string, string>;
}

const WHAT = "URI";

function queryOf(text: string | undefined): Map<string, string> {
  const query = new Map<string, string>();
  for (const part of (text ?? "").split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    query.set(equals < 0 ? part : part.slice(0, equals), equals < 0 ? "" : part.slice(equals + 1));
  }
  return query;
}

/** `scheme:path` or `scheme://[user@][host][:port]/path[?query]`. Throws FormatError. */
export function parseUri(text: string): FluxUri {
  const match = /^([a-z][a-z0-9+.-]*):(?:\/\/([^/?]*))?([^?]*)(?:\?(.*))?$/is.exec(text);
  const scheme = match?.[1];
  if (!match || scheme === undefined) throw new FormatError(WHAT, text, "expected SCHEME:PATH or SCHEME://HOST/PATH");
  const authority = /^(?:([^@]*)@)?(\[[^\]]*\]|[^:]*)(?::(\d{1,5}))?$/.exec(match[2] ?? "");
  const port = authority?.[3] === undefined ? undefined : Number(authority[3]);
  if (!authority || (port !== undefined && (port < 1 || port > 65535)))
    throw new FormatError(WHAT, text, "the host part is not [USER@]HOST[:PORT]");
  const host = authority[2] === "" ? undefined : authority[2];
  return { scheme: scheme.toLowerCase(), user: authority[1], host, port, path: match[3] ?? "", query: queryOf(match[4]) };
}

export function formatUri({ scheme, user, host, port, path, query }: FluxUri): string {
  const authority = `${user === undefined ? "" : `${user}@`}${host ?? ""}${port === undefined ? "" : `:${port}`}`;
  const search = [...query].map(([name, value]) => (value === "" ? name : `${name}=${value}`)).join("&");
  return `${scheme}://${authority}${path}${search === "" ? "" : `?${search}`}`;
}

/** Path of the socket of a local URI. Throws FormatError for another scheme. */
export function localPath(text: string): string {
  const { scheme, host, path } = parseUri(text);
  if (scheme !== "local") throw new FormatError(WHAT, text, `scheme ${scheme} is not local`);
  if (host !== undefined || !path.startsWith("/")) throw new FormatError(WHAT, text, "expected local:///PATH");
  return path;
}

/** A local URI as seen from another host, and the other way round. Throws FormatError. */
export function remoteUri(text: string, host: string): string {
  return `ssh://${host}${localPath(text)}`;
}

export function localUri(text: string): string {
  const { scheme, path } = parseUri(text);
  if (scheme !== "local" && scheme !== "ssh") throw new FormatError(WHAT, text, `scheme ${scheme} has no path of a socket`);
  return `local://${path}`;
}

/** Where in the hierarchy of instances: steps are job ids, and `..` for the parent; absolute ones start at the root. */
export interface JobPath {
  readonly absolute: boolean;
  readonly steps: readonly (JobId | "..")[];
}

/** `ƒ1/ƒ2`, `/ƒ1`, `..`, with or without `jobid:` before it. Throws FormatError. */
export function parseJobPath(text: string): JobPath {
  const body = text.replace(/^jobid:(?:\/\/)?/, "").replace(/\?.*$/s, "");
  if (body === "") throw new FormatError("job path", text, "it is empty");
  const steps = body.split("/").filter((part) => part !== "" && part !== ".");
  return { absolute: body.startsWith("/"), steps: steps.map((part) => (part === ".." ? part : parseJobId(part))) };
}
