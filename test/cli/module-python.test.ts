// What runs modules in Python (cli/module_host.py), with bindings that only say what they are asked for.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { collectOutput } from "../../src/os/spawn.ts";
import { exitCode } from "../../src/formats/waitstatus.ts";
import { selfCommand } from "../../src/os/self.ts";
import { PYTHON } from "../support/needs.ts";

const CORE = `
import os
class ffi:
    NULL = None
    def new(kind):
        class Error:
            text = b""
        return [None] if kind == "char **" else [Error()]
    def string(value):
        return value
class lib:
    def flux_module_initialize(handle, text, error):
        print("initialize", handle)
        if os.environ.get("REFUSE"):
            error[0].text = b"no welcome"
            return -1
        words = os.environ.get("WORDS")
        text[0] = words.encode() if words else None
        return 0
    def free(text):
        print("free", text.decode())
    def flux_module_register_handlers(handle, error):
        print("register", handle)
        return 0
    def flux_module_finalize(handle, failure, error):
        print("finalize", handle, failure)
        return 0
`;

const BINDINGS = {
  "flux/__init__.py": "class Flux:\n    def __init__(self, url):\n        self.handle = url\n",
  "flux/brokermod.py": "def resolve_entry_point(module):\n    return module.mod_main\n",
  "flux/importer.py":
    "import importlib.util\ndef import_path(path):\n    spec = importlib.util.spec_from_file_location('m', path)\n    m = importlib.util.module_from_spec(spec)\n    spec.loader.exec_module(m)\n    return m\n",
  "_flux/__init__.py": "",
  "_flux/_core.py": CORE,
};

const directory = mkdtempSync(join(tmpdir(), "module-python-"));

beforeAll(() => {
  for (const [name, text] of Object.entries(BINDINGS)) {
    mkdirSync(join(directory, name, ".."), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
});

afterAll(() => rmSync(directory, { recursive: true }));

interface Ran {
  readonly code: number | undefined;
  readonly out: string[];
  readonly err: string;
}

async function run(body: string, env: Record<string, string> = {}): Promise<Ran> {
  const path = join(directory, "probe.py");
  writeFileSync(path, `def mod_main(handle, *args):\n    print("runs", handle.handle, *args)\n    ${body}\n`);
  const { status, stdout, stderr } = await collectOutput({
    argv: [...selfCommand(), "module-python-exec", path],
    env: { ...process.env, FLUX_PYTHON: PYTHON, PYTHONPATH: directory, FLUX_MODULE_URI: "fd://3", ...env },
  });
  return { code: exitCode(status), out: stdout.trimEnd().split("\n"), err: stderr };
}

test("a module is welcomed, runs with its arguments, and says that it has ended", async () => {
  expect(await run("pass", { WORDS: "a=1 b" })).toEqual({
    code: 0,
    out: ["initialize fd://3", "free a=1 b", "register fd://3", "runs fd://3 a=1 b", "finalize fd://3 0"],
    err: "",
  });
  expect((await run("pass")).out).toContain("runs fd://3");
});

test("the broker is told what it failed with", async () => {
  const { EINVAL, ENOENT, ECONNRESET } = constants.errno;
  const wrong = await run("raise ValueError('bad option')");
  expect(wrong.out.at(-1)).toBe(`finalize fd://3 ${EINVAL}`);
  expect(wrong.err).toBe("probe.py: bad option\n");
  expect((await run("open('/nowhere/file')")).out.at(-1)).toBe(`finalize fd://3 ${ENOENT}`);
  const bug = await run("undefined_name");
  expect(bug.out.at(-1)).toBe(`finalize fd://3 ${ECONNRESET}`);
  expect(bug.err).toContain("NameError");
});

test("what keeps it from running is one line", async () => {
  expect(await run("pass", { REFUSE: "1" })).toEqual({ code: 1, out: ["initialize fd://3"], err: "flux-module-python-exec: no welcome\n" });
  const { code, err } = await run("pass", { PYTHONPATH: "/nowhere", FLUX_PYTHONPATH_PREPEND: "" });
  expect(code).toBe(1);
  expect(err).toContain("Modules in Python need Flux's bindings");
});
