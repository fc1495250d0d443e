// The server's side of the protocol, line by line, and the words that lines are made of.

import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";

import { errno, FluxError } from "../../src/message/errno.ts";
import { formatProcessMapping, parseProcessMapping } from "../../src/pmi/process-mapping.ts";
import { createPmiServer, type PmiConnection, type PmiServer, type PmiServerOptions } from "../../src/pmi/server.ts";
import { createLineSplitter, formatLine, parseLine } from "../../src/pmi/wire.ts";

interface Peer {
  connection: PmiConnection;
  got: string[];
  closed: boolean;
  say(line: string): string | undefined;
}

function join(server: PmiServer, rank: number, init = true): Peer {
  const peer: Peer = {
    got: [],
    closed: false,
    connection: server.attach(rank, { write: (data) => peer.got.push(data), end: () => (peer.closed = true) }),
    say(line) {
      const before = peer.got.length;
      peer.connection.receive(Buffer.from(`${line}\n`));
      return peer.got.slice(before).join("") || undefined;
    },
  };
  if (init) peer.say("cmd=init pmi_version=1 pmi_subversion=1");
  return peer;
}

function serverOf(options: Partial<PmiServerOptions> = {}): { server: PmiServer; errors: FluxError[] } {
  const errors: FluxError[] = [];
  const server = createPmiServer({ size: 2, kvsname: "kvs", onError: (_, error) => errors.push(error), ...options });
  return { server, errors };
}

function thrown(fn: () => unknown): FluxError {
  try {
    fn();
  } catch (error) {
    if (error instanceof FluxError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("lines", () => {
  test("words in any order, spaces between, a value to the end of the line", () => {
    expect(Object.fromEntries(parseLine("cmd=get_result  rc=0\tvalue=a b=c  d"))).toEqual({ cmd: "get_result", rc: "0", value: "a b=c  d" });
    expect(Object.fromEntries(parseLine("value=a b kvsname=k key=x cmd=put"))).toEqual({ value: "a b", kvsname: "k", key: "x", cmd: "put" });
    expect(Object.fromEntries(parseLine("cmd=get_result rc=-1 msg=key_X_not_found value=unknown"))).toEqual({
      cmd: "get_result",
      rc: "-1",
      msg: "key_X_not_found",
      value: "unknown",
    });
    expect(thrown(() => parseLine("cmd=init nonsense")).errno).toBe(errno.EPROTO);
  });

  test("what is written is read back", () => {
    const word = fc.stringMatching(/^[!-<>-~]{1,20}$/);
    fc.assert(
      fc.property(word, word, (key, value) => {
        expect(parseLine(formatLine({ cmd: "put", kvsname: "k", key, value }).slice(0, -1)).get("value")).toBe(value);
      }),
    );
    expect(thrown(() => formatLine({ key: "a b" })).errno).toBe(errno.EINVAL);
    expect(thrown(() => formatLine({ value: "a\nb" })).errno).toBe(errno.EINVAL);
  });

  test("a stream in any pieces gives the same lines, a line without end is refused", () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z =]{0,20}$/)), fc.integer({ min: 1, max: 7 }), (lines, step) => {
        const got: string[] = [];
        const split = createLineSplitter(100, (line) => got.push(line));
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
        for (let at = 0; at < bytes.length; at += step) split(bytes.subarray(at, at + step));
        expect(got).toEqual(lines);
      }),
    );
    const split = createLineSplitter(100, () => undefined);
    expect(thrown(() => split(Buffer.alloc(101, 97))).errno).toBe(errno.EMSGSIZE);
  });
});

describe("server", () => {
  test("answers what launchers answer", () => {
    const { server } = serverOf({ preset: [["PMI_process_mapping", "(vector,(0,1,2))"]], universeSize: 8 });
    const peer = join(server, 0, false);
    expect(peer.say("cmd=init pmi_version=1 pmi_subversion=1")).toBe("cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1\n");
    expect(peer.say("cmd=get_maxes")).toBe("cmd=maxes rc=0 kvsname_max=64 keylen_max=64 vallen_max=1024\n");
    expect(peer.say("cmd=get_appnum")).toBe("cmd=appnum rc=0 appnum=0\n");
    expect(peer.say("cmd=get_universe_size")).toBe("cmd=universe_size rc=0 size=8\n");
    expect(peer.say("cmd=get_my_kvsname")).toBe("cmd=my_kvsname rc=0 kvsname=kvs\n");
    expect(peer.say("cmd=get kvsname=kvs key=PMI_process_mapping")).toBe("cmd=get_result rc=0 value=(vector,(0,1,2))\n");
    expect(peer.say("cmd=get kvsname=kvs key=none")).toBe("cmd=get_result rc=4 msg=key_none_not_found\n");
    expect(peer.say("cmd=get kvsname=other key=PMI_process_mapping")).toStartWith("cmd=get_result rc=-1");
    expect(peer.say("cmd=put kvsname=kvs key=k value=one two")).toBe("cmd=put_result rc=0\n");
    expect(server.get("k")).toBe("one two");
    expect(peer.say("cmd=lookup_name service=s")).toStartWith("cmd=lookup_result rc=-1");
    expect(peer.say("mcmd=spawn\nnprocs=1\nexecname=a b\nendcmd")).toBe("cmd=spawn_result rc=-1 msg=spawn_is_not_supported\n");
    expect(peer.say("cmd=finalize")).toBe("cmd=finalize_ack rc=0\n");
    expect(peer.say("cmd=init pmi_version=1 pmi_subversion=1")).toBe("cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1\n");
  });

  test("negotiates down to 1.1 and refuses what is older", () => {
    const { server } = serverOf();
    expect(join(server, 0, false).say("cmd=init pmi_version=2 pmi_subversion=0")).toBe("cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1\n");
    expect(join(server, 1, false).say("cmd=init pmi_version=1 pmi_subversion=0")).toStartWith("cmd=response_to_init rc=-1");
  });

  test("limits are refused with a reason, and the longest allowed value passes", () => {
    const { server, errors } = serverOf();
    const peer = join(server, 0);
    expect(peer.say(`cmd=put kvsname=kvs key=${"k".repeat(63)} value=${"v".repeat(1023)}`)).toBe("cmd=put_result rc=0\n");
    expect(peer.say(`cmd=put kvsname=kvs key=k value=${"v".repeat(1024)}`)).toContain("the_process_manager_takes_1023");
    expect(peer.say(`cmd=put kvsname=kvs key=${"k".repeat(64)} value=v`)).toContain("rc=-1");
    expect(peer.closed).toBe(false);
    expect(peer.say("x".repeat(2000))).toBeUndefined();
    expect([peer.closed, errors.map((error) => error.errno)]).toEqual([true, [errno.EMSGSIZE]]);
    expect(createPmiServer({ size: 1, kvsname: "k", preset: [["PMI_process_mapping", "x".repeat(5000)]] }).get("PMI_process_mapping")).toBe("");
  });

  test("a barrier releases all at once, and again", () => {
    const { server } = serverOf();
    const [a, b] = [join(server, 0), join(server, 1)];
    for (let i = 0; i < 3; i++) {
      expect(a.say("cmd=barrier_in")).toBeUndefined();
      expect(b.say("cmd=barrier_in")).toBe("cmd=barrier_out rc=0\n");
      expect(a.got.at(-1)).toBe("cmd=barrier_out rc=0\n");
    }
  });

  test("an exchange gets only what is new, and its failure reaches every process", async () => {
    const asked: Array<Record<string, string>> = [];
    const answers = [Promise.resolve([["far", "away"]] as Array<[string, string]>), Promise.reject(new FluxError(errno.EHOSTUNREACH, "lost a node"))];
    const { server, errors } = serverOf({
      localProcs: 1,
      exchange: async (pairs) => {
        asked.push(Object.fromEntries(pairs));
        return (await answers[asked.length - 1]) ?? [];
      },
    });
    const peer = join(server, 0);
    const answered = async (): Promise<string | undefined> => {
      const before = peer.got.length;
      for (let i = 0; i < 100 && peer.got.length === before; i++) await Promise.resolve();
      return peer.got[before];
    };
    peer.say("cmd=put kvsname=kvs key=near value=by");
    peer.say("cmd=barrier_in");
    expect(await answered()).toBe("cmd=barrier_out rc=0\n");
    expect(peer.say("cmd=get kvsname=kvs key=far")).toBe("cmd=get_result rc=0 value=away\n");
    peer.say("cmd=barrier_in");
    expect(await answered()).toBe("cmd=barrier_out rc=-1 msg=lost_a_node\n");
    expect(asked).toEqual([{ near: "by" }, {}]);
    expect(errors.map((error) => error.errno)).toEqual([errno.EHOSTUNREACH]);
  });

  test("who waits for a process that died is told", () => {
    const { server, errors } = serverOf();
    const [a, b] = [join(server, 0), join(server, 1)];
    a.say("cmd=barrier_in");
    b.connection.disconnect();
    expect(a.got.at(-1)).toStartWith("cmd=barrier_out rc=-1");
    expect(errors.length).toBe(1);
  });

  test("a process that leaves after it has finalized fails nobody", () => {
    const { server, errors } = serverOf();
    const [a, b] = [join(server, 0), join(server, 1)];
    b.say("cmd=finalize");
    a.say("cmd=barrier_in");
    b.connection.disconnect();
    expect([a.got.length, errors.length]).toEqual([1, 0]);
  });

  test("abort says who, with what, and why", () => {
    const aborts: unknown[] = [];
    const { server } = serverOf({ onAbort: (...args) => aborts.push(args) });
    join(server, 1).say("cmd=abort exitcode=7 message=out of luck");
    expect(aborts).toEqual([[1, 7, "out of luck"]]);
  });

  test("who waits for a process that has aborted waits for the end of all", () => {
    const { server, errors } = serverOf();
    const [a, b] = [join(server, 0), join(server, 1)];
    a.say("cmd=barrier_in");
    b.say("cmd=abort exitcode=7");
    b.connection.disconnect();
    expect([errors, a.got.length]).toEqual([[], 1]);
  });

  test("what is put for a node stays there", () => {
    const exchanged: string[] = [];
    const { server } = serverOf({
      size: 1,
      exchange: async (pairs) => {
        exchanged.push(...pairs.keys());
        return pairs;
      },
    });
    const peer = join(server, 0);
    for (const key of ["local::a", "b"]) peer.say(`cmd=put kvsname=kvs key=${key} value=1`);
    expect(peer.say("cmd=get kvsname=kvs key=local::a")).toBe("cmd=get_result rc=0 value=1\n");
    peer.say("cmd=barrier_in");
    expect(exchanged).toEqual(["b"]);
  });

  test.each(["cmd=get_maxes", "garbage", "cmd=who_knows", "a=b"])("before init, %s ends the connection", (line) => {
    const { server, errors } = serverOf();
    const peer = join(server, 0, false);
    peer.say(line);
    expect([peer.closed, errors.map((error) => error.errno)]).toEqual([true, [errno.EPROTO]]);
  });

  test("ranks are those of the program, once each", () => {
    const { server } = serverOf();
    expect(thrown(() => join(server, 2)).errno).toBe(errno.EINVAL);
    const first = join(server, 0);
    expect(thrown(() => join(server, 0)).errno).toBe(errno.EEXIST);
    first.connection.disconnect();
    expect(join(server, 0).got.length).toBe(1);
  });

  test("no bytes make it throw", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 80 })), (chunks) => {
        const { server, errors } = serverOf();
        const peer = join(server, 0);
        for (const chunk of chunks) peer.connection.receive(chunk);
        expect(errors.length).toBe(peer.closed ? 1 : 0);
      }),
    );
  });
});

describe("process mapping", () => {
  test("the examples of the RFC", () => {
    expect(parseProcessMapping("(vector,(0,2,2))", 4)).toEqual([0, 0, 1, 1]);
    expect(parseProcessMapping("(vector,(0,2,1),(0,2,1))", 4)).toEqual([0, 1, 0, 1]);
    expect(parseProcessMapping("(vector,(0,2,2),(2,2,4))", 12)).toEqual([0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    expect(parseProcessMapping("(vector,(0,1,1))", 4)).toEqual([0, 0, 0, 0]); // blocks wrap around
    expect(parseProcessMapping("", 4)).toBeUndefined();
    expect(formatProcessMapping([0, 0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3])).toBe("(vector,(0,2,2),(2,2,4))");
    for (const bad of ["(vector,)", "vector", "(vector,(0,1))", "(vector,(0,0,4))"]) expect(thrown(() => parseProcessMapping(bad, 4)).errno).toBe(errno.EINVAL);
  });

  test("what is written is read back", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5 }), { minLength: 1, maxLength: 50 }), (nodes) => {
        expect(parseProcessMapping(formatProcessMapping(nodes), nodes.length)).toEqual(nodes);
      }),
    );
  });
});
