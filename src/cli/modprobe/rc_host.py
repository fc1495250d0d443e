"""Host of rc files in Python: runs their functions for `flux modprobe`, which decides what runs, and when.

Descriptor 3 is a socket to it, with one JSON object a line in both directions. It sends
    {"do": "load", "path": FILE}      answered by {"done": [TASK, ...]}
    {"do": "setup", "path": FILE}     calls setup(context)
    {"do": "run", "task": NAME}       calls the task's function
each answered by {"done": ...} or {"error": TEXT}. What a function wants of modprobe itself goes the other way before
that: {"call": NAME, "args": [...]}, answered by {"result": ...} or {"error": TEXT}.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys

import flux
from flux.modprobe import task as task_decorator

LISTS = ("provides", "requires", "needs", "before", "after", "needs_attrs", "needs_config", "needs_env")


class Link:
    """The line to modprobe."""

    def __init__(self):
        sock = socket.socket(fileno=3)
        os.set_inheritable(3, False)
        self._reader = sock.makefile("r", encoding="utf-8")
        self._writer = sock.makefile("w", encoding="utf-8")

    def receive(self):
        line = self._reader.readline()
        return json.loads(line) if line else None

    def send(self, message):
        self._writer.write(json.dumps(message) + "\n")
        self._writer.flush()

    def call(self, name, *args):
        sys.stdout.flush()
        self.send({"call": name, "args": args})
        reply = self.receive()
        if reply is None:
            raise EOFError("flux modprobe has gone")
        if "error" in reply:
            raise ValueError(reply["error"])
        return reply.get("result")


class Context:
    """What tasks and setup() are given: see flux-modprobe(1)."""

    def __init__(self, link):
        self._link = link
        self._data = {}
        self._handle = None

    @property
    def handle(self):
        if self._handle is None:
            self._handle = flux.Flux()
        return self._handle

    @property
    def rank(self):
        return self.handle.get_rank()

    def print(self, *args):
        self._link.call("print", " ".join(str(arg) for arg in args))

    def set(self, key, value):
        self._data[key] = value

    def get(self, key, default=None):
        return self._data.get(key, default)

    def attr_get(self, attr, default=None):
        try:
            return self.handle.attr_get(attr)
        except FileNotFoundError:
            return default

    def conf_get(self, key, default=None):
        return self.handle.conf_get(key, default=default)

    def rpc(self, topic, *args, **kwargs):
        return self.handle.rpc(topic, *args, **kwargs)

    def getenv(self, var, default=None):
        value = os.environ.get(var)
        if value is None:
            value = self._link.call("getenv", var)
        return default if value is None else value

    def setenv(self, name_or_env, value=None):
        env = name_or_env if isinstance(name_or_env, dict) else {name_or_env: value}
        for name, text in env.items():
            if text is not None and not isinstance(text, str):
                raise ValueError(f"{name}: value must be a string or None")
        self._link.call("setenv", env)
        for name, text in env.items():
            if text is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = text

    def setopt(self, module, options, overwrite=False):
        self._link.call("setopt", module, options, overwrite)

    def getopts(self, name, default=None, also=None):
        return self._link.call("getopts", name, list(default or []), list(also or []))

    def bash(self, command):
        code = subprocess.run(["bash", "-c", command]).returncode
        if code != 0:
            how = f"exited with exit status {code}" if code > 0 else f"died by signal {-code}"
            raise RuntimeError(f"bash: {how}")

    def load_modules(self, modules):
        self._link.call("load_modules", list(modules))

    def remove_modules(self, modules=None):
        self._link.call("remove_modules", None if modules is None else list(modules))

    def set_alternative(self, name, alternative):
        self._link.call("set_alternative", name, alternative)

    def enable(self, name):
        self._link.call("enable", name)


def import_file(path):
    name = os.path.basename(path)[: -len(".py")]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


def describe(task):
    conditions = {key: list(getattr(task, key)) for key in LISTS}
    return {
        "name": task.name,
        "ranks": str(task.ranks),
        "priority": task.priority,
        "disabled": task.disabled,
        **conditions,
    }


class Host:
    """The files that were loaded, and the tasks in them."""

    def __init__(self, link):
        self._context = Context(link)
        self._files = {}
        self._tasks = {}

    def load(self, path):
        self._files[path] = import_file(path)
        kind = type(task_decorator("")(None))
        found = [value for value in vars(self._files[path]).values() if isinstance(value, kind)]
        self._tasks.update((task.name, task) for task in found)
        return [describe(task) for task in found]

    def setup(self, path):
        function = getattr(self._files[path], "setup", None)
        if callable(function):
            function(self._context)

    def run(self, task):
        self._tasks[task].func(self._context)


def main():
    link = Link()
    host = Host(link)
    while True:
        request = link.receive()
        if request is None:
            return
        verb = request.pop("do")
        try:
            answer = {"done": getattr(host, verb)(**request)}
        except Exception as exc:  # whatever a user's file throws is the answer
            answer = {"error": str(exc) or type(exc).__name__}
        sys.stdout.flush()
        link.send(answer)


if __name__ == "__main__":
    main()
