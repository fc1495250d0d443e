import { expect, test } from "bun:test";
import { join } from "node:path";
import { openDatagramSender } from "../../src/os/datagram.ts";
import { openSyslog } from "../../src/os/syslog.ts";
import { makeTemporaryDirectory, removeDirectory } from "../../src/os/tmpdir.ts";
import { receiveDatagrams } from "../support/datagrams.ts";

test("each text is one datagram, also to a socket with an abstract name", () => {
  const dir = makeTemporaryDirectory("datagram-");
  for (const path of [join(dir, "socket"), `@${join(dir, "abstract")}`]) {
    const receiver = receiveDatagrams(path);
    const send = openDatagramSender(path);
    send("one");
    send("zwölf\nthirteen");
    expect(receiver.take()).toEqual(["one", "zwölf\nthirteen"]);
    receiver.close();
  }
  removeDirectory(dir);
});

test("nobody there, nobody who reads, and a path that no socket can have hold nobody up", () => {
  const dir = makeTemporaryDirectory("datagram-");
  openDatagramSender(join(dir, "nobody"))("lost");
  openDatagramSender(join(dir, "n".repeat(200)))("lost");
  const receiver = receiveDatagrams(join(dir, "full"));
  const send = openDatagramSender(join(dir, "full"));
  for (let i = 0; i < 5000; i++) send(`line ${i}`);
  const came = receiver.take();
  expect(came[0]).toBe("line 0");
  expect(came.length).toBeLessThan(5000);
  receiver.close();
  send("lost");
  removeDirectory(dir);
});

test("the system's log gets what syslog(3) writes", () => {
  const sent: string[] = [];
  openSyslog("flux", (text) => sent.push(text))(3, "root@/ broker.err[0]: oh");
  expect(sent).toEqual([expect.stringMatching(/^<11>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d flux\[\d+\]: root@\/ broker\.err\[0\]: oh\n$/)]);
});
