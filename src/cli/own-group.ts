// flux own-group: becomes a program in a process group of its own, with the terminal. Called by a broker that leads its group and
// so can't step out of it for the moment of the start (broker.rc2_pgrp); never by people.
import { errno, toFluxError } from "../message/errno.ts";
import { becomeProgram } from "../os/exec.ts";
import { leadOwnGroup } from "../os/foreground.ts";
import { writeStderr } from "../os/stderr.ts";
import { defineCommand } from "./command.ts";

export default defineCommand({
  name: "own-group",
  style: "getopt",
  summary: "run a program in a process group of its own",
  usage: "PROGRAM [ARGS...]",
  verbatim: true,
  run({ args }) {
    leadOwnGroup();
    try {
      return becomeProgram(args);
    } catch (err) {
      const error = toFluxError(err);
      writeStderr(`flux-broker: ${error.message}\n`);
      return error.errno === errno.ENOENT ? 127 : 126;
    }
  },
});
