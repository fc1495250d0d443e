import { expect, test } from "bun:test";
import { errno } from "../../src/message/errno.ts";
import { runWorker } from "../../src/shell/worker.ts";
import { handleWithout } from "../support/link.ts";

test.each(["rundir", "security.owner"])("a shell does not begin without knowing %s", async (attribute) => {
  await expect(runWorker(handleWithout(attribute), { pid: 0 })).rejects.toMatchObject({ errno: errno.ENOMEM });
});
