// Round trip and rate of the ZMTP transport between two processes: CURVE over tcp with both crypto back ends, NULL over
// ipc. CPU is that of both processes together.
//
//   bun bench/zmtp.ts [--quick]
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, generateKeypair, encodeZ85, keypairOf, listen, type BoxBackend, type ZmtpConnection } from "../src/transport/zmtp/mod.ts";

interface Case {
  name: string;
  endpoint: string;
  backend?: BoxBackend;
  curve: boolean;
}

const quick = process.argv.includes("--quick");
const SIZES: readonly [size_bytes: number, count: number][] = [
  [100, quick ? 50_000 : 400_000],
  [1024, quick ? 20_000 : 150_000],
  [65_536, quick ? 500 : 5_000],
];
const ROUND_TRIPS = quick ? 2_000 : 20_000;
const QUEUE_LOW_BYTES = 1024 * 1024;

/** The other process: echoes "e…", counts "s…" and answers "?" with count and CPU. */
async function serve(testCase: Case, publicZ85: string, secretZ85: string): Promise<void> {
  const listener = await listen(testCase.endpoint, {
    socketType: "ROUTER",
    security: testCase.curve ? { kind: "curve", serverKey: keypairOf(publicZ85, secretZ85), authorize: () => true } : { kind: "null" },
    ...(testCase.backend === undefined ? {} : { backend: testCase.backend }),
    onPeer(connection) {
      let count = 0;
      connection.onMessage = (parts) => {
        const kind = parts[0]?.[0];
        if (kind === 0x65) connection.send(parts);
        else if (kind === 0x73) count++;
        else {
          const { user, system } = process.cpuUsage();
          connection.send([Buffer.from(JSON.stringify({ count, cpu_us: user + system }))]);
          count = 0;
        }
      };
      connection.onClose = () => process.exit(0);
    },
  });
  console.log(listener.endpoint);
}

function oneReply(connection: ZmtpConnection): Promise<Uint8Array> {
  return new Promise((resolve) => {
    connection.onMessage = (parts) => resolve(parts[0] ?? new Uint8Array(0));
  });
}

async function ask(connection: ZmtpConnection): Promise<{ count: number; cpu_us: number }> {
  const reply = oneReply(connection);
  connection.send([Buffer.from("?")]);
  return JSON.parse(Buffer.from(await reply).toString()) as { count: number; cpu_us: number };
}

async function roundTrip_us(connection: ZmtpConnection): Promise<number> {
  const message = [Buffer.alloc(100, "e")];
  const started = performance.now();
  await new Promise<void>((resolve) => {
    let left = ROUND_TRIPS;
    connection.onMessage = () => {
      if (--left === 0) resolve();
      else connection.send(message);
    };
    connection.send(message);
  });
  return ((performance.now() - started) * 1000) / ROUND_TRIPS;
}

async function rate(connection: ZmtpConnection, size_bytes: number, count: number): Promise<string> {
  const message = [Buffer.alloc(size_bytes, "s")];
  const before = await ask(connection);
  const own = process.cpuUsage();
  const started = performance.now();
  for (let sent = 0; sent < count; ) {
    while (sent < count && connection.queued_bytes < QUEUE_LOW_BYTES) {
      connection.send(message);
      sent++;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  const after = await ask(connection);
  const took_s = (performance.now() - started) / 1000;
  if (after.count !== count) throw new Error(`${after.count} of ${count} messages arrived`);
  const spent = process.cpuUsage(own);
  const cpu_us = (spent.user + spent.system + after.cpu_us - before.cpu_us) / count;
  const bytes = size_bytes >= 65_536 ? ` ${((count * size_bytes) / took_s / 1e6).toFixed(0)} MB/s` : "";
  return `${size_bytes} B: ${(count / took_s / 1000).toFixed(0)} k/s${bytes} · ${cpu_us.toFixed(1)} µs`;
}

async function measure(testCase: Case): Promise<void> {
  const server = generateKeypair();
  const keys = [encodeZ85(server.publicKey), encodeZ85(server.secretKey)] as const;
  const child = Bun.spawn([process.execPath, import.meta.path, "--serve", JSON.stringify(testCase), ...keys], {
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    const { value } = await child.stdout.getReader().read();
    const endpoint = Buffer.from(value ?? new Uint8Array(0)).toString().trim();
    const connection = await connect(endpoint, {
      socketType: "DEALER",
      timeout_ms: 5000,
      security: testCase.curve ? { kind: "curve", keypair: generateKeypair(), serverPublicKey: keys[0] } : null,
      ...(testCase.backend === undefined ? {} : { backend: testCase.backend }),
    });
    await roundTrip_us(connection);
    const results = [`round trip ${(await roundTrip_us(connection)).toFixed(0)} µs`];
    for (const [size_bytes, count] of SIZES) results.push(await rate(connection, size_bytes, count));
    console.log(`${testCase.name}: ${results.join(", ")}`);
    connection.close();
    await child.exited;
  } finally {
    child.kill();
  }
}

async function main(): Promise<void> {
  const serveAt = process.argv.indexOf("--serve");
  if (serveAt > 0) {
    const [testCase, publicKey, secretKey] = process.argv.slice(serveAt + 1);
    return serve(JSON.parse(testCase ?? "") as Case, publicKey ?? "", secretKey ?? "");
  }
  const directory = mkdtempSync(join(tmpdir(), "zmtp-bench-"));
  try {
    await measure({ name: "CURVE tcp, wasm", endpoint: "tcp://127.0.0.1:*", curve: true, backend: "wasm" });
    await measure({ name: "CURVE tcp, ffi", endpoint: "tcp://127.0.0.1:*", curve: true, backend: "ffi" });
    await measure({ name: "NULL ipc", endpoint: `ipc://${directory}/socket`, curve: false });
  } finally {
    rmSync(directory, { recursive: true });
  }
}

await main();
