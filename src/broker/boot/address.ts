// The address at which brokers on other hosts reach this one (tbon.interface-hint): that of the default route, of the
// host name, of a named interface, or of the first interface inside a network.
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { BlockList } from "node:net";
import { networkInterfaces } from "node:os";
import { errno, FluxError } from "../../message/errno.ts";

/** An IPv4 (or, failing that, IPv6) address. Throws FluxError ENXIO when the hint names nothing that is there. */
export async function addressFor(hint: string, hostname: string): Promise<string> {
  if (hint === "default-route") return ofInterface(defaultRouteInterface()) ?? ofHostname(hostname);
  if (hint === "hostname") return ofHostname(hostname);
  const address = hint.includes("/") ? insideNetwork(hint) : ofInterface(hint);
  if (address === undefined) throw new FluxError(errno.ENXIO, `tbon.interface-hint: no interface matches '${hint}'`);
  return address;
}

function defaultRouteInterface(): string | undefined {
  let table: string;
  try {
    table = readFileSync("/proc/net/route", "latin1");
  } catch {
    return undefined; // a system without IPv4 routes
  }
  return table
    .split("\n")
    .map((line) => line.split("\t"))
    .find(([, destination, , , , , , mask]) => destination === "00000000" && mask === "00000000")?.[0];
}

function ofInterface(name: string | undefined): string | undefined {
  const addresses = name === undefined ? [] : (networkInterfaces()[name] ?? []);
  return (addresses.find((a) => a.family === "IPv4") ?? addresses.find((a) => !a.address.startsWith("fe80")))?.address;
}

function insideNetwork(cidr: string): string | undefined {
  const [network = "", prefix = ""] = cidr.split("/");
  const block = new BlockList();
  block.addSubnet(network, Number(prefix), "ipv4");
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return all.find((a) => a.family === "IPv4" && block.check(a.address))?.address;
}

async function ofHostname(hostname: string): Promise<string> {
  try {
    return (await lookup(hostname, { family: 4 })).address;
  } catch {
    // A host whose own name is unknown still reaches itself.
    return "127.0.0.1";
  }
}
