// Submission: checks a request to submit a job, before it gets an id: flags and urgency, and who signed it (RFC 39).
// validateJobspec() looks at the jobspec (RFC 14, RFC 25). Pure.
import { FLAG, URGENCY } from "../../client/jobs.ts";
import { FormatError } from "../../formats/error.ts";
import { Hostlist } from "../../formats/hostlist.ts";
import { decodeJson, isJsonObject, type Json, type JsonObject } from "../../formats/json.ts";
import { parseJobspec } from "../../formats/jobspec.ts";
import { unwrap } from "../../formats/signature.ts";
import { errno, FluxError } from "../../message/errno.ts";
import { int, str, unpack } from "../../message/unpack.ts";

export interface Submission {
  readonly userid: number;
  readonly urgency: number;
  readonly flags: number;
  /** As it was signed. */
  readonly J: string;
  readonly jobspec: JsonObject;
}

export interface Submitter {
  readonly userid: number;
  readonly isOwner: boolean;
}

export interface SubmissionRules {
  /** User id of the instance owner. */
  readonly owner: number;
  /** Root may submit although the instance isn't root's. */
  readonly allowRoot: boolean;
}

const FLAGS_KNOWN = FLAG.DEBUG | FLAG.WAITABLE | FLAG.NOVALIDATE;
/** Characters of a signed jobspec. */
const J_MAX = 64 * 1024 * 1024;

/** Throws FluxError EINVAL, EPERM or EPROTO with a text that says what is wrong. */
export function checkSubmission(payload: JsonObject, from: Submitter, rules: SubmissionRules): Submission {
  const { J, urgency, flags } = unpack(payload, { J: str, urgency: int, flags: int });
  if (J.length > J_MAX) throw new FluxError(errno.E2BIG, `the jobspec is longer than ${J_MAX} characters`);
  checkFlags(flags, urgency, from);
  const signed = unwrapJob(J);
  if (signed.userid !== from.userid) throw new FluxError(errno.EPERM, `signer=${signed.userid} != requestor=${from.userid}`);
  if (!from.isOwner) throw new FluxError(errno.EPERM, "only instance owner can use sign-type=none");
  if (rules.owner !== 0 && from.userid === 0 && !rules.allowRoot) {
    throw new FluxError(errno.EINVAL, "submission of jobs as user root not supported");
  }
  const jobspec = decodeJobspec(signed.payload);
  return { userid: from.userid, urgency, flags, J, jobspec };
}

function checkFlags(flags: number, urgency: number, from: Submitter): void {
  if ((flags & ~FLAGS_KNOWN) !== 0) throw new FluxError(errno.EPROTO, "invalid job flags");
  if (!from.isOwner && (flags & FLAG.NOVALIDATE) !== 0) {
    throw new FluxError(errno.EPERM, "only the instance owner can submit with FLUX_JOB_NOVALIDATE");
  }
  if (urgency < URGENCY.MIN || urgency > URGENCY.MAX) {
    throw new FluxError(errno.EINVAL, `urgency range is [${URGENCY.MIN}:${URGENCY.MAX}]`);
  }
  if (!from.isOwner && urgency > URGENCY.DEFAULT) {
    throw new FluxError(errno.EINVAL, `only the instance owner can submit with urgency >${URGENCY.DEFAULT}`);
  }
  if (!from.isOwner && (flags & FLAG.WAITABLE) !== 0) {
    throw new FluxError(errno.EINVAL, "only the instance owner can submit with FLUX_JOB_WAITABLE");
  }
}

function unwrapJob(J: string): ReturnType<typeof unwrap> {
  try {
    return unwrap(J);
  } catch (err) {
    throw new FluxError(errno.EINVAL, `could not unwrap jobspec: ${reason(err)}`, { cause: err });
  }
}

function decodeJobspec(payload: Uint8Array): JsonObject {
  let value: unknown;
  try {
    value = decodeJson(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString("utf8"));
  } catch (err) {
    throw new FluxError(errno.EINVAL, `jobspec: invalid JSON: ${reason(err)}`, { cause: err });
  }
  if (!isJsonObject(value)) throw new FluxError(errno.EINVAL, "jobspec: must be an object");
  return value;
}

export interface JobspecRules {
  /** "any": every version that there is. */
  readonly version: 1 | "any";
  /** The hosts of the instance, when they are known: a constraint that names another one can never be met. */
  readonly hosts: Hostlist | undefined;
}

/** Throws FluxError EINVAL naming the field. */
export function validateJobspec(jobspec: JsonObject, { version: wanted, hosts }: JobspecRules): void {
  try {
    const { version } = parseJobspec(jobspec);
    if (wanted !== "any" && version !== wanted) throw new FluxError(errno.EINVAL, `invalid jobspec: version: must be ${wanted}, not ${version}`);
    if (hosts !== undefined) checkHosts(constraintsOf(jobspec), hosts);
  } catch (err) {
    if (err instanceof FormatError) throw new FluxError(errno.EINVAL, err.message, { cause: err });
    throw err;
  }
}

function constraintsOf(jobspec: JsonObject): Json {
  const attributes = jobspec["attributes"];
  const system = isJsonObject(attributes) ? attributes["system"] : undefined;
  return isJsonObject(system) ? (system["constraints"] ?? null) : null;
}

/** Looks at the hostlist operators (RFC 31) of a constraint that is known to be well formed. */
function checkHosts(constraint: Json, hosts: Hostlist): void {
  if (!isJsonObject(constraint)) return;
  for (const [operator, values] of Object.entries(constraint)) {
    for (const value of Array.isArray(values) ? (values as readonly Json[]) : []) {
      if (operator !== "hostlist") checkHosts(value, hosts);
      else if (typeof value === "string") requireHosts(value, hosts);
    }
  }
}

function requireHosts(text: string, hosts: Hostlist): void {
  for (const host of Hostlist.parse(text)) {
    if (!hosts.has(host)) throw new FluxError(errno.EINVAL, `host constraint contains invalid hosts: host '${host}' not found`);
  }
}

function reason(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}
