// The name of this host.

import { hostname as systemHostname } from "node:os";

/**
 * The name of this host, as R and hostlists have it. FLUX_FAKE_HOSTNAME stands in for it, so that several brokers of one
 * machine can be several hosts (RFC 20 wants names that differ); tests and `flux start` use it.
 */
export function hostname(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const fake = env["FLUX_FAKE_HOSTNAME"];
  return fake === undefined || fake === "" ? systemHostname() : fake;
}
