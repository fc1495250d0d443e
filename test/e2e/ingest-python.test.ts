// Validators and frobnicators in Python, as sites have them: with stand-ins for the little of flux-core's bindings that they use.
import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Sandbox, sandbox } from "./sandbox.ts";

const VALIDATOR = `from flux.job.validator import ValidatorPlugin
import errno, sys
class Validator(ValidatorPlugin):
    def __init__(self, parser):
        parser.add_argument("--max-words", type=int)
    def configure(self, args):
        self.max = args.max_words
    def validate(self, job):
        print("noise")
        name = job.jobspec["tasks"][0]["command"][0]
        if name == "raise":
            raise ValueError("no such luck")
        if name == "exit":
            sys.exit(1)
        if len(job.jobspec["tasks"][0]["command"]) > self.max:
            return (errno.EPERM, f"no more than {self.max} words for user {job.userid}")
`;
const FROBNICATOR = `from flux.job.frobnicator import FrobnicatorPlugin
class Frobnicator(FrobnicatorPlugin):
    def configure(self, args, config):
        self.name = config["site"]["name"]
    def frob(self, jobspec, userid, urgency, flags):
        jobspec.jobspec["attributes"]["system"]["job"] = {"name": f"{self.name}-{urgency}"}
`;

function bindings(box: Sandbox): string {
  const files = {
    "flux/__init__.py": `class Future:
    def get(self):
        return {"site": {"name": "hill"}}
class Flux:
    def rpc(self, topic):
        return Future()
`,
    "flux/job/__init__.py": "class Jobspec:\n    def __init__(self, **jobspec):\n        self.jobspec = jobspec\n",
    "flux/job/validator.py": "class ValidatorPlugin:\n    pass\nclass ValidatorJobInfo:\n    def __init__(self, job):\n        self.__dict__.update(job)\n",
    "flux/job/frobnicator.py": "class FrobnicatorPlugin:\n    def __init__(self, parser):\n        pass\n",
    "limit.py": VALIDATOR,
    "name.py": FROBNICATOR,
  };
  const dir = join(box.dir, "py");
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(dir, name, ".."), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
  return dir;
}

const hasPython = spawnSync("python3", ["-c", ""]).status === 0;

test.skipIf(!hasPython)("a validator and a frobnicator in Python", async () => {
  await using box = sandbox();
  const dir = bindings(box);
  const config = [
    `ingest.validator.plugins=["jobspec","${dir}/limit.py"]`,
    'ingest.validator.args=["--require-version=1","--max-words=2"]',
    `ingest.frobnicator.plugins=["${dir}/name.py","defaults"]`,
  ];
  const script = `flux run -n2 true && flux jobs -ano {name}; for args in "true a b" raise exit "true a"; do flux run $args; done`;
  const flags = config.map((line) => `--conf='${line}'`).join(" ");
  const { stdout, stderr } = await box.sh(`FLUX_PYTHONPATH_PREPEND=${dir} flux start ${flags} '${script}'`);
  expect(stdout.trim()).toBe("hill-16");
  expect(stderr).toMatch(/no more than 2 words for user \d+/);
  expect(stderr).toContain("no such luck");
  expect(stderr).toContain("limit.py: it unexpectedly exited");
});
