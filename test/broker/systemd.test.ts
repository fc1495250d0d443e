import { expect, test } from "bun:test";
import { STATES } from "../../src/broker/state-machine.ts";
import { Systemd } from "../../src/broker/systemd.ts";

function newSystemd(rank: number, stopTimeout_s: number): { systemd: Systemd; sent: string[] } {
  const sent: string[] = [];
  const systemd = new Systemd({ send: (text) => sent.push(text), rank, size: 2, parentEndpoint: () => "tcp://host:8050", stopTimeout_s });
  return { systemd, sent };
}

test("systemd hears that a broker is up, what it does, and that its end makes progress", () => {
  const { systemd, sent } = newSystemd(0, 90);
  for (const state of STATES) {
    systemd.entered(state);
    if (state === "init") systemd.progress("Running flux modprobe rc1\nmore");
    if (state === "finalize") systemd.progress(undefined);
  }
  expect(sent).toEqual([
    "READY=1",
    "STATUS=Fetching configuration update from parent",
    "STATUS=Running flux modprobe rc1",
    "STATUS=Waiting for instance quorum",
    "STATUS=Running as leader of 2 node Flux instance",
    "EXTEND_TIMEOUT_USEC=90000000", // shutdown
    "STATUS=Waiting for overlay peers to shutdown",
    "EXTEND_TIMEOUT_USEC=90000000", // finalize
    "EXTEND_TIMEOUT_USEC=90000000", // its progress
    "EXTEND_TIMEOUT_USEC=90000000", // goodbye
    "STATUS=Exiting",
  ]);
});

test("a member says whom it joins; without a stop timeout none is extended", () => {
  const { systemd, sent } = newSystemd(1, 0);
  for (const state of STATES) systemd.entered(state);
  expect(sent.slice(0, 2)).toEqual(["STATUS=Joining Flux instance via tcp://host:8050", "READY=1"]);
  expect(sent).toContain("STATUS=Running as member of 2 node Flux instance");
  expect(sent.filter((text) => text.startsWith("EXTEND"))).toEqual([]);
});
