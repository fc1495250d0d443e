import { expect, test } from "bun:test";
import { vainSettings } from "../../../src/modules/job-exec/config.ts";

test("what is set in vain is said by name", () => {
  const exec = { service: "sdexec", "sdexec-properties": { MemoryMax: "90%" }, "kil-timeout": "5s", "kill-timeout": "5s", imp: "/imp", testexec: {} };
  expect(vainSettings({ exec })).toEqual(["service", "sdexec-properties", "kil-timeout"].map((key) => `the key '${key}' of the table [exec] has no effect here`));
  expect(vainSettings({ exec: { service: "rexec", method: "bulk-exec" } })).toEqual([]);
  expect(vainSettings({})).toEqual([]);
});
