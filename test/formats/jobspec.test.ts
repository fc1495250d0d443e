import { describe, expect, test } from "bun:test";
import {
  getAttribute,
  jobspecCounts,
  jobspecForScript,
  jobspecFromCommand,
  parseJobspec,
  setAttribute,
  setShellOption,
} from "../../src/formats/jobspec.ts";
import { formatResourceRange, parseResourceCount, parseResourceRange, rangeCounts } from "../../src/formats/resource-range.ts";
import { parseShape } from "../../src/formats/shape.ts";

const command = ["hostname"];
const valid = () => ({
  resources: [{ type: "slot", count: 1, with: [{ type: "core", count: 1 }], label: "task" }],
  tasks: [{ command, slot: "task", count: { per_slot: 1 } }],
  attributes: { system: { duration: 0 } },
  version: 1,
});
const counts = (options: object) => jobspecCounts(parseJobspec(jobspecFromCommand({ command, ...options })));

describe("jobspec", () => {
  test("what flux run builds", () => {
    expect(
      jobspecFromCommand({ command, ntasks: 5, nodes: 4, gpusPerTask: 1, cwd: "/tmp", environment: { A: "1" }, duration_s: 60 }),
    ).toEqual({
      resources: [
        {
          type: "node",
          count: 4,
          with: [
            {
              type: "slot",
              count: 2,
              with: [
                { type: "core", count: 1 },
                { type: "gpu", count: 1 },
              ],
              label: "task",
            },
          ],
        },
      ],
      tasks: [{ command, slot: "task", count: { total: 5 } }],
      attributes: { system: { duration: 60, environment: { A: "1" }, cwd: "/tmp" } },
      version: 1,
    });
    expect(counts({ ntasks: 10, coresPerTask: 2 })).toEqual({
      nnodes: 0,
      nslots: 10,
      slotsPerNode: 0,
      coresPerSlot: 2,
      gpusPerSlot: 0,
      exclusive: false,
      ntasks: 10,
      duration_s: 0,
    });
    expect(counts({ ntasks: 5, nodes: 4 })).toMatchObject({ nnodes: 4, nslots: 8, slotsPerNode: 2, ntasks: 5, exclusive: false });
    expect(counts({ nodes: 3 })).toMatchObject({ nnodes: 3, nslots: 3, ntasks: 3, exclusive: true });
  });
  test("per resource", () => {
    expect(counts({ nodes: 2, tasksPerNode: 4 })).toMatchObject({ nnodes: 2, nslots: 2, ntasks: 8, exclusive: true });
    expect(counts({ nodes: 2, cores: 8, tasksPerNode: 1, gpusPerNode: 1 })).toMatchObject({
      coresPerSlot: 4,
      gpusPerSlot: 1,
      ntasks: 2,
      exclusive: false,
    });
    expect(counts({ cores: 6, tasksPerCore: 2 })).toMatchObject({ nnodes: 0, nslots: 6, ntasks: 12 });
    const bad: [object, string][] = [
      [{ cores: 3, nodes: 2 }, "evenly divisible"],
      [{ cores: 3, ntasks: 2 }, "Per-resource options can't be used"],
      [{ tasksPerNode: 1 }, "must specify node or core count"],
      [{ gpusPerNode: 1, cores: 1 }, "--gpus-per-node requires --nodes"],
      [{ ntasks: 0 }, "task count must be an integer >= 1"],
      [{ ntasks: 1, nodes: 2 }, "node count must not be greater"],
      [{ command: [] }, "missing"],
    ];
    for (const [options, message] of bad) expect(() => counts(options), message).toThrow(message);
  });
  test("output files and buffering", () => {
    const jobspec = jobspecFromCommand({ command, output: "out", error: "none", labelIo: true, unbuffered: true });
    expect(getAttribute(jobspec, "system.shell.options")).toEqual({
      output: {
        stdout: { type: "file", path: "out", label: true, buffer: { type: "none" } },
        stderr: { buffer: { type: "none" } },
        "batch-timeout": 0.05,
      },
      input: { "batch-timeout": 0 },
    });
  });
  test("a batch script travels in the jobspec", () => {
    const jobspec = parseJobspec(
      jobspecForScript("#!/bin/sh\ntrue\n", { nslots: 2, name: "x", args: ["a"], brokerOptions: ["-v"], config: { a: 1 } }),
    );
    expect(jobspec.tasks[0]?.command).toEqual(["flux", "broker", "-v", "-c{{tmpdir}}/conf.json", "{{tmpdir}}/script", "a"]);
    expect(getAttribute(jobspec, "files")).toMatchObject({
      "conf.json": { mode: 0o100600, data: { a: 1 } },
      script: { mode: 0o100700, encoding: "utf-8" },
    });
    expect(getAttribute(jobspec, "shell.options")).toEqual({
      "per-resource": { type: "node" },
      mpi: "none",
      "exit-timeout": "none",
    });
    expect(() => jobspecForScript("true", { nslots: 1, name: "job.sh" })).toThrow("job.sh does not appear to start with '#!'");
    expect(() => jobspecForScript("#!x", {})).toThrow("Number of slots");
  });
  test("attributes", () => {
    const jobspec = parseJobspec(valid());
    const before = jobspec.attributes;
    setAttribute(jobspec, "job.name", "n");
    setAttribute(jobspec, "user.a.b", 1);
    setShellOption(jobspec, "verbose", true);
    expect(jobspec.attributes).toEqual({
      system: { duration: 0, job: { name: "n" }, shell: { options: { verbose: true } } },
      user: { a: { b: 1 } },
    });
    expect(before).toEqual({ system: { duration: 0 } });
    setAttribute(jobspec, "user.a", undefined);
    expect(getAttribute(jobspec, "attributes.user")).toEqual({});
    expect(() => setAttribute(jobspec, "duration.x", 1)).toThrow('"duration" is set and is no object');
    expect(() => setAttribute(jobspec, "a..b", 1)).toThrow("empty part");
  });
  test("errors name the field", () => {
    const cases: [(j: ReturnType<typeof valid>) => object, string][] = [
      [(j) => ({ ...j, version: 0 }), "version: must be"],
      [(j) => ({ ...j, x: 1 }), "x: unknown member"],
      [() => ({}), "resources: is required"],
      [(j) => ({ ...j, resources: [] }), "resources: must be a list"],
      [(j) => ({ ...j, tasks: [{ ...j.tasks[0], command: "x" }] }), "tasks[0].command: must be a list"],
      [(j) => ({ ...j, tasks: [{ ...j.tasks[0], command: ["x", 1] }] }), "tasks[0].command[1]: must be a string"],
      [(j) => ({ ...j, tasks: [{ ...j.tasks[0], slot: 1 }] }), "tasks[0].slot: must be a string"],
      [(j) => ({ ...j, tasks: [{ ...j.tasks[0], count: {} }] }), "tasks[0].count: must have exactly one"],
      [(j) => ({ ...j, attributes: {} }), "attributes.system: is required"],
      [(j) => ({ ...j, attributes: { system: {} } }), "attributes.system.duration"],
      [(j) => ({ ...j, attributes: { system: { duration: 0, environment: { A: 1 } } } }), "attributes.system.environment.A"],
      [(j) => ({ ...j, attributes: { system: { duration: 0, constraints: { foo: [] } } } }), "unknown constraint operator: foo"],
      [
        (j) => ({ ...j, attributes: { system: { duration: 0, dependencies: [{ scheme: "a" }] } } }),
        "attributes.system.dependencies[0].value",
      ],
      [
        (j) => ({ ...j, resources: [{ type: "slot", count: 1, with: [{ type: "core", count: 1 }] }] }),
        "resources[0].label: is required",
      ],
      [
        (j) => ({ ...j, resources: [{ type: "slot", count: 1, label: "task", with: [{ type: "core", count: 0 }] }] }),
        "resources[0].with[0].count: must be",
      ],
      [
        (j) => ({ ...j, resources: [{ type: "slot", count: "1-2", label: "task", with: [{ type: "core", count: 1 }] }] }),
        "must be an integer in version 1",
      ],
    ];
    for (const [change, message] of cases) expect(() => parseJobspec(change(valid())), message).toThrow(message);
    const jobspec = parseJobspec({
      ...valid(),
      version: 9999,
      resources: [{ type: "slot", count: { min: 2 }, label: "task", with: [{ type: "gpu", count: 1 }] }],
    });
    expect(() => jobspecCounts(jobspec)).toThrow("resources[0].count");
  });
});

describe("resource range", () => {
  test("forms of RFC 45", () => {
    expect(parseResourceRange("1-5:2:+")).toEqual({ min: 1, max: 5, operator: "+", operand: 2 });
    expect(parseResourceRange("[100+]")).toEqual({ min: 100 });
    expect([...rangeCounts(parseResourceRange("2-16:2:*"), 100)]).toEqual([2, 4, 8, 16]);
    expect([...rangeCounts(parseResourceRange("2+:2:^"), 300)]).toEqual([2, 4, 16, 256]);
    expect([...rangeCounts(parseResourceRange("3+"), 5)]).toEqual([3, 4, 5]);
    for (const text of ["1-5", "1-5:2", "2+", "2-16:2:*", "2+:3:^"])
      expect(formatResourceRange(parseResourceRange(text))).toBe(text);
    expect(parseResourceCount("4,9,16")).toBe("4,9,16");
    expect(parseResourceCount("[7]")).toBe(7);
    for (const text of ["5-1", "0-3", "1-4:1:*", "1-4:2:^", "01-4", "x", "1-"])
      expect(() => parseResourceRange(text), text).toThrow("invalid resource range");
  });
});

const slot = (count: unknown, children: unknown[], label = "default") => ({ type: "slot", count, label, with: children });

describe("shape", () => {
  test("examples of RFC 46", () => {
    const node = { type: "node", count: 1 };
    const cases: [string, unknown][] = [
      ["slot=4/node", [slot(4, [node])]],
      ["slot=3-30/node", [slot({ min: 3, max: 30, operator: "+", operand: 1 }, [node])]],
      [
        "slot=4{nodelevel}/node{-x}/socket=2+/core=4+",
        [
          slot(
            4,
            [
              {
                ...node,
                exclusive: false,
                with: [{ type: "socket", count: { min: 2 }, with: [{ type: "core", count: { min: 4 } }] }],
              },
            ],
            "nodelevel",
          ),
        ],
      ],
      ["slot=4,9,16,25/node", [slot("4,9,16,25", [node])]],
      [
        "node/[slot=10{read-db}/[core;memory=4{unit:GB}];slot{db}/[core=6;memory=24{unit:GB}]]",
        [
          {
            ...node,
            with: [
              slot(
                10,
                [
                  { type: "core", count: 1 },
                  { type: "memory", count: 4, unit: "GB" },
                ],
                "read-db",
              ),
              slot(
                1,
                [
                  { type: "core", count: 6 },
                  { type: "memory", count: 24, unit: "GB" },
                ],
                "db",
              ),
            ],
          },
        ],
      ],
      [
        "slot=10/[memory=2+{unit:GB};core]",
        [
          slot(10, [
            { type: "memory", count: { min: 2 }, unit: "GB" },
            { type: "core", count: 1 },
          ]),
        ],
      ],
      [
        "cluster=2/slot/node=1+{-x}/core=30",
        [
          {
            type: "cluster",
            count: 2,
            with: [slot(1, [{ type: "node", count: { min: 1 }, exclusive: false, with: [{ type: "core", count: 30 }] }])],
          },
        ],
      ],
      [
        'node{x,+a,b:"x y",c:{d:1,+e},f:[1,g]}',
        [{ ...node, exclusive: true, a: true, b: "x y", c: { d: 1, e: true }, f: [1, "g"] }],
      ],
    ];
    for (const [text, expected] of cases) expect(parseShape(text) as unknown, text).toEqual(expected);
  });
  test("errors", () => {
    for (const text of [
      "",
      "slot",
      "slot=/node",
      "node]",
      "[node",
      "node{",
      "node{a:",
      "[slot/node;slot{b}/node]",
      "node=0",
      "node{x,x}",
      "a b",
      "[".repeat(100),
    ]) {
      expect(() => parseShape(text), text).toThrow("invalid shape");
    }
  });
});
