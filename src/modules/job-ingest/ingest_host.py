"""Host of a validator or frobnicator in Python, which is written against Flux's bindings: a class Validator or Frobnicator.

Usage: python -c PROGRAM validator|frobnicator FILE [ARGS...]

Each line of standard input is a job {"jobspec", "userid", "urgency", "flags"}; each is answered by a line on standard
output: {"errnum": 0}, with "data", the jobspec, from a frobnicator, or {"errnum": N, "errstr": TEXT}. What the plugin
prints goes to standard error.
"""

import argparse
import errno
import importlib.util
import json
import os
import sys


def load(path):
    spec = importlib.util.spec_from_file_location("ingest_plugin", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def parse_args(parser, words):
    """Other plugins of the same list may have arguments of their own."""
    known, _ = parser.parse_known_args(words)
    return known


def open_validator(module, parser, words):
    from flux.job.validator import ValidatorJobInfo

    plugin = module.Validator(parser=parser)
    plugin.configure(parse_args(parser, words))

    def validate(job):
        errnum, errstr = plugin.validate(ValidatorJobInfo(job)) or (0, None)
        if errnum == 0:
            return {"errnum": 0}
        return {"errnum": errnum, "errstr": errstr or os.strerror(errnum)}

    return validate


def open_frobnicator(module, parser, words):
    import flux
    from flux.job import Jobspec

    plugin = module.Frobnicator(parser=parser)
    plugin.configure(parse_args(parser, words), config=flux.Flux().rpc("config.get").get())

    def frobnicate(job):
        jobspec = Jobspec(**job["jobspec"])
        plugin.frob(jobspec, job["userid"], job["urgency"], job["flags"])
        return {"errnum": 0, "data": jobspec.jobspec}

    return frobnicate


def answer(process, line):
    try:
        return process(json.loads(line))
    except Exception as exc:  # whatever it is, it is about this job
        number = exc.errno if isinstance(exc, OSError) and exc.errno else errno.EINVAL
        return {"errnum": number, "errstr": str(exc) or type(exc).__name__}


def main():
    kind, path, *words = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    opener = open_validator if kind == "validator" else open_frobnicator
    process = opener(load(path), parser, words)
    for line in sys.stdin:
        print(json.dumps(answer(process, line)), file=answers, flush=True)


main()
