import { expect, test } from "bun:test";
import { errno } from "../../src/message/errno.ts";
import { handleWithout } from "../support/link.ts";

test("an attribute that is not there is no error; one that can't be asked for is", async () => {
  const h = handleWithout("rundir");
  expect(await h.optionalAttr("jobid-path")).toBeUndefined();
  await expect(h.optionalAttr("rundir")).rejects.toMatchObject({ errno: errno.ENOMEM });
});
