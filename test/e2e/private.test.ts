// Private mode as other users see it: mocked ones, since tests have one user.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Instance, type Result, startInstance } from "./flux.ts";

let instance: Instance;
beforeAll(async () => {
  instance = await startInstance(1);
});
afterAll(() => instance.stop());

const GUEST = { FLUX_HANDLE_USERID: "64321", FLUX_HANDLE_ROLEMASK: "0x2" };
const ADMIN = { FLUX_HANDLE_USERID: "64321", FLUX_HANDLE_ROLEMASK: "0xa" };

function setPrivateMode(on: boolean): Promise<Result> {
  return instance.flux(["config", "load"], { input: `[access]\nprivate-mode = ${on}\n` });
}

async function idsSeen(env: Readonly<Record<string, string>>): Promise<string> {
  const { stdout, stderr } = await instance.flux(["jobs", "-A", "-a", "-no", "{id}"], { env });
  expect(stderr).toBe("");
  return stdout.trim();
}

test("users learn nothing of the jobs of others in private mode; administrators and the owner do", async () => {
  const id = (await instance.flux(["submit", "--wait", "true"])).stdout.trim();
  const restricted = [["module", "stats", "job-manager"], ["module", "stats", "job-list"], ["job", "stats"]];
  expect(await idsSeen(GUEST)).toBe(id);
  for (const args of restricted) expect((await instance.flux(args, { env: GUEST })).code, args.join(" ")).toBe(0);

  expect((await setPrivateMode(true)).stderr).toBe("");
  expect(await idsSeen(GUEST)).toBe("");
  for (const args of restricted) {
    const { code, stderr } = await instance.flux(args, { env: GUEST });
    expect([code, stderr], args.join(" ")).toEqual([1, expect.stringContaining("not permitted")]);
    expect((await instance.flux(args, { env: ADMIN })).code, args.join(" ")).toBe(0);
    expect((await instance.flux(args)).code, args.join(" ")).toBe(0);
  }
  expect(await idsSeen(ADMIN)).toBe(id);
  const raise = await instance.flux(["job", "purge", "--force", "--num-limit=0"], { env: ADMIN });
  expect([raise.code, raise.stderr]).toEqual([1, expect.stringMatching(/not permitted|owner credentials/)]);

  expect((await setPrivateMode(false)).stderr).toBe("");
  expect(await idsSeen(GUEST)).toBe(id);
});
