// The table [bootstrap] of the configuration (flux-config-bootstrap(5)): which brokers there are, in rank order, where
// each listens and is reached, who is above whom, and the certificate that all of them hold.
import { fstatSync, openSync, closeSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { Hostlist } from "../../formats/hostlist.ts";
import type { JsonObject } from "../../formats/json.ts";
import { errno, FluxError, strerror, toFluxError } from "../../message/errno.ts";
import { arr, bool, obj, opt, problemOf, str, uint, unpack } from "../../message/unpack.ts";
import { type Keypair, parseCertificate } from "../../transport/zmtp/keypair.ts";

export interface BootstrapHost {
  readonly host: string;
  /** Where it listens; "tcp://eth0:8060" names an interface. */
  readonly bind: string | undefined;
  /** Where its children reach it. */
  readonly connect: string | undefined;
  readonly parent: string | undefined;
}

export interface Bootstrap {
  /** Rank order; at least one. */
  readonly hosts: readonly BootstrapHost[];
  /** Place of `hostname` among them. */
  readonly rank: number;
  /** The rank above each rank; -1 above rank 0. */
  readonly parents: readonly number[];
  readonly curveCert: string | undefined;
  readonly enableIpv6: boolean;
}

const KEYS = ["enable_ipv6", "curve_cert", "default_port", "default_bind", "default_connect", "hosts"];
const HOST_KEYS = ["host", "bind", "connect", "parent"];
const HOSTS_MAX = 1 << 20;
const URI_MAX_BYTES = 2048;
/** A label of a domain name begins and ends with a letter or digit. */
const HOST_NAME = /^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*$/;

/** Undefined: the configuration has no such table. Throws FluxError EINVAL that names what is wrong in it. */
export function readBootstrap(config: JsonObject, hostname: string): Bootstrap | undefined {
  if (config["bootstrap"] === undefined) return undefined;
  try {
    return parse(obj(config["bootstrap"], "bootstrap"), hostname);
  } catch (err) {
    throw new FluxError(errno.EINVAL, `Config file error [bootstrap]: ${problemOf(err)}`, { cause: err });
  }
}

function parse(table: JsonObject, hostname: string): Bootstrap {
  refuseOtherKeys(table, KEYS);
  const { enable_ipv6, curve_cert, default_port, default_bind, default_connect, hosts } = unpack(table, {
    enable_ipv6: opt(bool),
    curve_cert: opt(str),
    default_port: opt(uint),
    default_bind: opt(str),
    default_connect: opt(str),
    hosts: opt(arr(obj)),
  });
  if (default_port !== undefined && default_port > 65_535) throw bad("default_port must be in the range of 0-65535");
  const merged = mergeHosts(hosts ?? [], hostname);
  const fill = (text: string | undefined, host: string, what: string): string | undefined =>
    text === undefined ? undefined : checkUri(fillTokens(text, host, default_port), `${what} of ${host}`);
  const list = [...merged.values()].map((entry) => ({
    host: entry.host,
    bind: fill(entry.bind ?? default_bind, entry.host, "bind"),
    connect: fill(entry.connect ?? default_connect, entry.host, "connect"),
    parent: entry.parent,
  }));
  const rank = list.findIndex(({ host }) => host === hostname);
  if (rank < 0) throw bad(`${hostname} not found in hosts`);
  if (list.length > 1 && curve_cert === undefined) throw bad("curve_cert must be defined for size > 1");
  return { hosts: list, rank, parents: parentsOf(list), curveCert: curve_cert, enableIpv6: enable_ipv6 ?? false };
}

/** Entries of a host that come later add what earlier ones leave open. Without any, this host is alone. */
function mergeHosts(entries: readonly JsonObject[], hostname: string): Map<string, BootstrapHost> {
  const merged = new Map<string, BootstrapHost>();
  for (const [index, entry] of entries.entries()) {
    try {
      refuseOtherKeys(entry, HOST_KEYS);
      const { host, ...more } = unpack(entry, { host: str, bind: opt(str), connect: opt(str), parent: opt(str) });
      for (const name of Hostlist.parse(host).toArray()) {
        if (!HOST_NAME.test(name)) throw bad(`'${name}' is not a host name`);
        const before = merged.get(name);
        merged.set(name, {
          host: name,
          bind: before?.bind ?? more.bind,
          connect: before?.connect ?? more.connect,
          parent: before?.parent ?? more.parent,
        });
      }
      if (merged.size > HOSTS_MAX) throw bad(`more than ${HOSTS_MAX} hosts`);
    } catch (err) {
      throw bad(`invalid hosts[${index}]: ${problemOf(err)}`);
    }
  }
  if (merged.size === 0) merged.set(hostname, { host: hostname, bind: undefined, connect: undefined, parent: undefined });
  return merged;
}

function parentsOf(hosts: readonly BootstrapHost[]): number[] {
  const ranks = new Map(hosts.map(({ host }, rank) => [host, rank]));
  const parents = hosts.map(({ host, parent }, rank) => {
    if (parent === undefined) return rank === 0 ? -1 : 0;
    const above = ranks.get(parent);
    if (parent === host) throw bad(`invalid hosts[${rank}]: parent key refers to self`);
    if (above === undefined) throw bad(`invalid hosts[${rank}]: parent key refers to unknown host`);
    if (rank === 0) throw bad(`invalid hosts[0]: ${host} is rank 0, which has no parent`);
    return above;
  });
  for (const [rank, { host }] of hosts.entries()) {
    let [at, steps] = [rank, 0];
    while (at > 0 && steps++ < hosts.length) at = parents[at] ?? 0;
    if (at > 0) throw bad(`invalid hosts[${rank}]: ${host} is its own parent's parent`);
  }
  return parents;
}

/** %h is the host, %p the default port, %% a percent sign; anything else stays. */
function fillTokens(text: string, host: string, port: number | undefined): string {
  return text.replace(/%([hp%])/g, (_, token: string) => {
    if (token === "h") return host;
    if (token === "%") return "%";
    if (port === undefined) throw bad(`${text} has %p, but there is no default_port`);
    return String(port);
  });
}

function checkUri(uri: string, what: string): string {
  if (Buffer.byteLength(uri) > URI_MAX_BYTES) throw bad(`${what} is longer than ${URI_MAX_BYTES} bytes`);
  if (!/^(tcp|ipc):\/\/./.test(uri)) throw bad(`${what}: ${uri} does not begin with tcp:// or ipc://`);
  if (/^tcp:.*:\*$/.test(uri)) throw bad(`${what}: ${uri} needs a port number that others can know`);
  return uri;
}

function refuseOtherKeys(table: JsonObject, known: readonly string[]): void {
  const other = Object.keys(table).find((key) => !known.includes(key));
  if (other !== undefined) throw bad(`unknown key '${other}': expected ${known.join(", ")}`);
}

function bad(text: string): FluxError {
  return new FluxError(errno.EINVAL, text);
}

/** The keys of a certificate file that nobody but its owner may read. Throws FluxError that names the file. */
export function loadCertificate(path: string): Keypair {
  try {
    const fd = openSync(path, "r");
    try {
      if ((fstatSync(fd).mode & 0o044) !== 0) throw new FluxError(errno.EPERM, "readable by group/other");
      return parseCertificate(readFileSync(fd, "utf8")).keypair;
    } finally {
      closeSync(fd);
    }
  } catch (err) {
    const { errno: number, message } = toFluxError(err);
    // What the system says of a file names it already, in words of its own.
    const text = err instanceof FluxError ? message : strerror(number);
    throw new FluxError(number, `Error loading certificate: ${path}: ${text}`, { cause: err });
  }
}

/** A bind address as sockets take it: an interface by its address, "*" as every address. Throws FluxError ENXIO. */
export function resolveBind(uri: string, enableIpv6: boolean): string {
  const match = /^tcp:\/\/([^[\]:]+):(\d+)$/.exec(uri);
  const [, name = "", port = ""] = match ?? [];
  if (match === null) return uri;
  if (name === "*") return enableIpv6 ? `tcp://[::]:${port}` : uri;
  if (/^[\d.]+$/.test(name)) return uri;
  const addresses = networkInterfaces()[name];
  if (addresses === undefined) throw new FluxError(errno.ENXIO, `${uri}: there is no interface '${name}'`);
  const ipv6 = enableIpv6 ? addresses.find((a) => a.family === "IPv6" && !a.address.startsWith("fe80")) : undefined;
  const chosen = ipv6 ?? addresses.find((a) => a.family === "IPv4");
  if (chosen === undefined) throw new FluxError(errno.ENXIO, `${uri}: the interface '${name}' has no ${enableIpv6 ? "" : "IPv4 "}address`);
  return chosen.family === "IPv6" ? `tcp://[${chosen.address}]:${port}` : `tcp://${chosen.address}:${port}`;
}
