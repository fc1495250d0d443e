// flux keygen: a CURVE certificate, by which the brokers of a system instance know each other.
import { closeSync, fchmodSync, openSync, writeSync } from "node:fs";
import { toFluxError, strerror } from "../message/errno.ts";
import { hostname } from "../os/hostname.ts";
import { formatCertificate, generateKeypair } from "../transport/zmtp/keypair.ts";
import { FLUX_TS_VERSION, FLUX_VERSION } from "../version.ts";
import { defineCommand, text, UsageError } from "./command.ts";
import { wrongUsage, printError } from "./output.ts";

export default defineCommand({
  name: "keygen",
  style: "getopt",
  summary: "make a certificate for the brokers of a system instance",
  usage: "[OPTIONS] [PATH]",
  details: "Writes a new certificate to PATH, readable by its owner only.\n\nExample: flux keygen /etc/flux/system/curve.cert",
  options: {
    name: text("-n, --name NAME", "name of the certificate (default: the host's)"),
    meta: text("--meta KEYVALS", "more metadata: key=value,key=value"),
  },
  run({ options, args }) {
    const [path, ...rest] = args;
    if (rest.length > 0) throw wrongUsage("flux keygen [OPTIONS] [PATH]");
    if (path === undefined) {
      printError("flux-keygen: WARNING: add PATH argument to save generated certificate");
      return 0;
    }
    const metadata = new Map([
      ["name", options.name ?? hostname()],
      ["keygen.flux-core-version", FLUX_VERSION],
      ["keygen.flux-ts-version", FLUX_TS_VERSION],
      ["keygen.hostname", hostname()],
      ["keygen.time", new Date().toISOString().slice(0, 19)],
      ["keygen.userid", String(process.getuid?.() ?? 0)],
    ]);
    for (const [key, value] of metaPairs(options.meta)) metadata.set(key, value);
    save(path, formatCertificate({ keypair: generateKeypair(), metadata }));
    return 0;
  },
});

function metaPairs(words: string | undefined): [string, string][] {
  return (words ?? "")
    .split(",")
    .filter((word) => word !== "")
    .map((word) => {
      const equals = word.indexOf("=");
      if (equals < 1) throw new UsageError(`--meta: '${word}' is not key=value`);
      return [word.slice(0, equals), word.slice(equals + 1)];
    });
}

function save(path: string, certificate: string): void {
  try {
    const fd = openSync(path, "w", 0o600);
    try {
      // A file that was there keeps its mode otherwise.
      fchmodSync(fd, 0o600);
      writeSync(fd, certificate);
    } finally {
      closeSync(fd);
    }
  } catch (err) {
    throw new UsageError(`open ${path}: ${strerror(toFluxError(err).errno)}`);
  }
}
