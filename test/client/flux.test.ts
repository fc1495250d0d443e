import { expect, test } from "bun:test";
import { errno } from "../../src/message/errno.ts";
import { handleWithout } from "../support/link.ts";

test("an attribute that is not there has a value that somebody gives it; one that can't be asked for has none", async () => {
  const h = handleWithout("rundir");
  expect(await h.attrOr("jobid-path", "/")).toBe("/");
  await expect(h.attrOr("rundir", "/tmp")).rejects.toMatchObject({ errno: errno.ENOMEM });
});
