import { expect, test } from "bun:test";
import { errno } from "../../../src/message/errno.ts";
import { createJobExec } from "../../../src/modules/job-exec/job-exec.ts";
import { createVirtualClock } from "../../../src/os/clock.ts";
import { systemRandom } from "../../../src/os/random.ts";
import { handleWithout } from "../../support/link.ts";

test("job-exec does not begin without knowing how blobs are named", async () => {
  const context = { rank: 0, size: 1, owner: 0, clock: createVirtualClock(), random: systemRandom, config: {}, args: [], debugFlags: () => 0 };
  await expect(createJobExec().start(handleWithout("content.hash"), context)).rejects.toMatchObject({ errno: errno.ENOMEM });
});
