// The CURVE handshake command by command, without sockets: what a peer that cheats at each step gets.
import { beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { loadBox, NONCE_SIZE, type CryptoBox } from "../../../src/transport/zmtp/box.ts";
import { parseCommand } from "../../../src/transport/zmtp/command.ts";
import { curveClient, curveServer } from "../../../src/transport/zmtp/curve.ts";
import { frameDecoder } from "../../../src/transport/zmtp/frame.ts";
import { encodeZ85, generateKeypair, type Keypair } from "../../../src/transport/zmtp/keypair.ts";
import type { Opened, Security } from "../../../src/transport/zmtp/security.ts";

let box: CryptoBox;
const serverKey = generateKeypair();
const clientKey = generateKeypair();
const metadata = (socketType: string) => ({ socketType, identity: new Uint8Array(Buffer.from(`a ${socketType}`)) });

beforeAll(async () => {
  box = await loadBox();
});

function server(authorize: (key: string) => boolean = () => true): Security {
  return curveServer(box, { serverKey, local: metadata("ROUTER"), randomBytes, authorize });
}

function client(keypair: Keypair = clientKey, expected = serverKey.publicKey): Security {
  return curveClient(box, { keypair, serverPublicKey: expected, local: metadata("DEALER"), randomBytes });
}

/** The next command of `from`, answering `command` or opening the handshake. */
function step(from: Security, command?: Uint8Array): Uint8Array {
  const bytes = command === undefined ? from.start() : from.receive(parseCommand(command)).send;
  if (bytes === undefined) throw new Error("nothing to send");
  return new Uint8Array(bytes);
}

function established(): { c: Security; s: Security } {
  const [c, s] = [client(), server()];
  const ready = step(s, step(c, step(s, step(c))));
  c.receive(parseCommand(ready));
  return { c, s };
}

function write(from: Security, part: Uint8Array, more = false, command = false): Uint8Array {
  const target = from.beginWrite(part.length + from.overhead_bytes);
  return from.endWrite(target, from.encode(target, 0, part, more, command));
}

function read(to: Security, bytes: Uint8Array): Opened {
  const decoder = frameDecoder(1_000_000);
  decoder.push(bytes);
  const frame = decoder.next();
  if (frame === undefined) throw new Error("no frame");
  return to.open(frame.flags, frame.bytes, frame.start, frame.end);
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = bytes.slice();
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

describe("the handshake", () => {
  test("ends with both sides' metadata, and has the sizes of RFC 26", () => {
    const [c, s] = [client(), server()];
    const hello = step(c);
    expect(hello.length).toBe(200);
    const welcome = step(s, hello);
    expect(welcome.length).toBe(168);
    const initiate = step(c, welcome);
    const { send, peer } = s.receive(parseCommand(initiate));
    expect(peer).toEqual({ ...metadata("DEALER"), publicKey: encodeZ85(clientKey.publicKey) });
    expect(c.receive(parseCommand(send ?? new Uint8Array(0))).peer).toEqual(metadata("ROUTER"));
  });

  test("HELLO for another server", () => {
    expect(() => step(server(), step(client(clientKey, generateKeypair().publicKey)))).toThrow("another public key");
  });

  test("any changed bit of HELLO, WELCOME and INITIATE is noticed", () => {
    for (const at of [6, 80, 112, 120, 199]) {
      const hello = step(client());
      expect(() => step(server(), flipped(hello, at))).toThrow();
    }
    for (const at of [8, 24, 100, 167]) {
      const [c, s] = [client(), server()];
      const welcome = step(s, step(c));
      expect(() => step(c, flipped(welcome, at))).toThrow("WELCOME does not open");
    }
    for (const at of [9, 60, 104, 105, 112, 140, 200, 250]) {
      const [c, s] = [client(), server()];
      const initiate = step(c, step(s, step(c)));
      expect(() => step(s, flipped(initiate, at))).toThrow(/INITIATE|nonce/);
    }
  });

  test("WELCOME from somebody without the server's key", () => {
    const c = client();
    step(c);
    const other = client();
    const s = server();
    expect(() => step(c, step(s, step(other)))).toThrow("does not hold the expected key");
  });

  test("another connection's INITIATE, whose cookie is not ours", () => {
    const [c1, s1, c2, s2] = [client(), server(), client(), server()];
    const initiate = step(c1, step(s1, step(c1)));
    step(s2, step(c2));
    expect(() => step(s2, initiate)).toThrow("cookie that is not ours");
  });

  test("INITIATE twice, and commands out of order", () => {
    const [c, s] = [client(), server()];
    const hello = step(c);
    const initiate = step(c, step(s, hello));
    expect(() => step(s, hello)).toThrow("HELLO where INITIATE was expected");
    step(s, initiate);
    expect(() => step(s, initiate)).toThrow("INITIATE where READY was expected");
    expect(() => step(server(), initiate)).toThrow("INITIATE where HELLO was expected");
  });

  test("a client can't claim another's long-term key", () => {
    // The thief knows C, but vouches with a key of its own.
    const thief = generateKeypair();
    const [c, s] = [client({ publicKey: clientKey.publicKey, secretKey: thief.secretKey }), server()];
    const initiate = step(c, step(s, step(c)));
    expect(() => step(s, initiate)).toThrow("vouch that does not hold");
  });

  test("authorization comes after the proof, and its refusal is EPERM", () => {
    const asked: string[] = [];
    const [c, s] = [client(), server((key) => asked.push(key) === 0)];
    const initiate = step(c, step(s, step(c)));
    expect(() => step(s, initiate)).toThrow("is not authorized");
    expect(asked).toEqual([encodeZ85(clientKey.publicKey)]);
  });

  test("truncated commands", () => {
    const [c, s] = [client(), server()];
    const hello = step(c);
    expect(() => step(server(), hello.subarray(0, -1))).toThrow("malformed HELLO");
    const welcome = step(s, hello);
    expect(() => step(c, welcome.subarray(0, -1))).toThrow("malformed WELCOME");
    expect(() => step(s, step(c, welcome).subarray(0, 150))).toThrow("malformed INITIATE");
  });
});

describe("messages", () => {
  test("carry part and flags both ways", () => {
    const { c, s } = established();
    for (const [from, to] of [[c, s], [s, c]] as const) {
      for (const size of [0, 1, 221, 222, 223, 70_000]) {
        const part = new Uint8Array(size).fill(size & 0xff);
        expect(read(to, write(from, part))).toEqual({ more: false, command: false, data: part });
        expect(read(to, write(from, part, true))).toMatchObject({ more: true, command: false });
        expect(read(to, write(from, part, false, true))).toMatchObject({ more: false, command: true });
      }
    }
  });

  test("the outer frame is an ordinary one", () => {
    const { c } = established();
    expect(write(c, new Uint8Array(5), true)[0]).toBe(0);
    expect(write(c, new Uint8Array(500), true, false)[0]).toBe(2);
  });

  test("gaps are accepted, repeats and old ones are not", () => {
    const { c, s } = established();
    const [first, , third] = [1, 2, 3].map((n) => write(c, Uint8Array.of(n)));
    if (first === undefined || third === undefined) throw new Error("no message");
    expect(read(s, third).data).toEqual(Uint8Array.of(3));
    expect(() => read(s, third)).toThrow("nonce");
    expect(() => read(s, first)).toThrow("nonce");
  });

  test("changed, reflected and unboxed messages are refused", () => {
    const { c, s } = established();
    const message = write(c, new Uint8Array(20));
    expect(() => read(s, flipped(message, message.length - 1))).toThrow("does not open");
    const reflected = write(c, new Uint8Array(20));
    expect(() => read(c, reflected)).toThrow("does not open");
    expect(() => read(s, Uint8Array.of(0, 40, ...new Uint8Array(40)))).toThrow("a message in the clear");
    expect(() => read(s, Uint8Array.of(4, 40, ...new Uint8Array(40)))).toThrow("a command in the clear");
    expect(() => read(s, Uint8Array.of(0, 3, 1, 2, 3))).toThrow("malformed");
  });

  test("the key is of this connection", () => {
    const [one, two] = [established(), established()];
    expect(() => read(two.s, write(one.c, new Uint8Array(NONCE_SIZE)))).toThrow("does not open");
  });
});
