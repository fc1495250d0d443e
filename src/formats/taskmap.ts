// Task map (RFC 34): which tasks run on which node of a job, as blocks [nodeid, nnodes, ppn, repeat]. PMI-1 writes the same
// without the repeat: (vector,(0,4,4)).

import { FormatError } from "./error.ts";
import { IdSet } from "./idset.ts";
import { isJsonObject } from "./json.ts";

export type TaskmapBlock = readonly [nodeid: number, nnodes: number, ppn: number, repeat: number];
export type TaskmapForm = "json" | "wrapped" | "pmi" | "raw";

/** Bound on blocks, on nodes, and on map blocks of the PMI form. */
const MAX_BLOCKS = 1 << 20;
const MAX_TASKS = 1 << 30;
const WHAT = "taskmap";

const natural = (n: unknown, least: number): n is number =>
  typeof n === "number" && Number.isInteger(n) && n >= least && n <= MAX_TASKS;

function checkBlocks(value: unknown, text: string): TaskmapBlock[] {
  if (!Array.isArray(value)) throw new FormatError(WHAT, text, "must be a list of blocks");
  if (value.length > MAX_BLOCKS) throw new FormatError(WHAT, text, `more than ${MAX_BLOCKS} blocks`);
  let ntasks = 0;
  value.forEach((block: unknown, i) => {
    if (!Array.isArray(block) || block.length !== 4)
      throw new FormatError(WHAT, text, `block ${i} must be [nodeid, nnodes, ppn, repeat]`);
    const [nodeid, nnodes, ppn, repeat] = block as unknown[];
    if (!natural(nodeid, 0) || !natural(nnodes, 1) || !natural(ppn, 1) || !natural(repeat, 1)) {
      throw new FormatError(WHAT, text, `block ${i}: nodeid must be an integer of at least 0, the others of at least 1`);
    }
    ntasks += nnodes * ppn * repeat;
  });
  if (ntasks > MAX_TASKS) throw new FormatError(WHAT, text, `more than ${MAX_TASKS} tasks`);
  return value as TaskmapBlock[];
}

function parsePmi(text: string): TaskmapBlock[] {
  const body = /^\s*\(\s*vector\s*((?:,\s*\(\s*\d{1,9}\s*,\s*\d{1,9}\s*,\s*\d{1,9}\s*\)\s*)*)\)\s*$/.exec(text)?.[1];
  if (body === undefined) throw new FormatError(WHAT, text, "the PMI form is (vector,(nodeid,nnodes,ppn),…)");
  const blocks = [...body.matchAll(/\((\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)|\(\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\)/g)].map(
    (match) => [
      ...match
        .slice(1)
        .filter((part) => part !== undefined)
        .map(Number),
      1,
    ],
  );
  return repeated(checkBlocks(blocks, text));
}

/** Joins runs of equal neighbours, also where a group of several blocks is not the unit: one block at a time, as the RFC's examples. */
function repeated(blocks: readonly TaskmapBlock[]): TaskmapBlock[] {
  const result: TaskmapBlock[] = [];
  for (const [nodeid, nnodes, ppn, repeat] of blocks) {
    const last = result.at(-1);
    if (last && last[0] === nodeid && last[1] === nnodes && last[2] === ppn) {
      result[result.length - 1] = [nodeid, nnodes, ppn, last[3] + repeat];
    } else result.push([nodeid, nnodes, ppn, repeat]);
  }
  return result;
}

/** Blocks of a list that says the node of each task, in order of task. */
function blocksOf(nodeids: ArrayLike<number>): TaskmapBlock[] {
  const blocks: [number, number, number, number][] = [];
  for (let task = 0; task < nodeids.length;) {
    const nodeid = nodeids[task] ?? 0;
    let ppn = 1;
    while (task + ppn < nodeids.length && nodeids[task + ppn] === nodeid) ppn++;
    const last = blocks.at(-1);
    if (last && last[2] === ppn && last[0] + last[1] === nodeid) last[1]++;
    else blocks.push([nodeid, 1, ppn, 1]);
    task += ppn;
  }
  return repeated(blocks);
}

function parseRaw(text: string): TaskmapBlock[] {
  const sets = text.split(";").map((part) => IdSet.parse(part.trim()));
  const ntasks = sets.reduce((sum, set) => sum + set.count, 0);
  if (ntasks > MAX_BLOCKS) throw new FormatError(WHAT, text, `more than ${MAX_BLOCKS} tasks in the raw form`);
  const nodeids = new Int32Array(ntasks).fill(-1);
  sets.forEach((set, nodeid) => {
    for (const task of set) {
      if (task >= ntasks) throw new FormatError(WHAT, text, `task ids are not 0 to ${ntasks - 1}: there is ${task}`);
      if (nodeids[task] !== -1) throw new FormatError(WHAT, text, `task ${task} is on more than one node`);
      nodeids[task] = nodeid;
    }
  });
  return blocksOf(nodeids);
}

export class Taskmap {
  readonly blocks: readonly TaskmapBlock[];
  readonly ntasks: number;
  readonly nnodes: number;

  /** Throws FormatError for blocks that are none. */
  constructor(blocks: readonly TaskmapBlock[]) {
    this.blocks = checkBlocks(blocks, "");
    this.ntasks = blocks.reduce((sum, [, nnodes, ppn, repeat]) => sum + nnodes * ppn * repeat, 0);
    this.nnodes = blocks.reduce((most, [nodeid, nnodes]) => Math.max(most, nodeid + nnodes), 0);
  }

  /** Text in the JSON, wrapped JSON, PMI or raw form, or a decoded JSON value. [] is the unknown map. Throws FormatError. */
  static parse(input: unknown): Taskmap {
    if (typeof input !== "string") {
      if (!isJsonObject(input)) return new Taskmap(checkBlocks(input, ""));
      if (input["version"] !== 1) throw new FormatError(WHAT, "", "version must be 1");
      return new Taskmap(checkBlocks(input["map"], ""));
    }
    const text = input.trim();
    if (text.startsWith("(")) return new Taskmap(parsePmi(text));
    if (text.startsWith("{") || /^\[\s*(?:\[|\])/.test(text)) {
      let value: unknown;
      try {
        value = JSON.parse(text);
      } catch {
        throw new FormatError(WHAT, input, "it is not JSON");
      }
      return Taskmap.parse(value);
    }
    if (text === "") throw new FormatError(WHAT, input, "it is empty");
    return new Taskmap(parseRaw(text));
  }

  /** `ppn[nodeid]` tasks on each node, in order: the block distribution. Nodes may have no task. */
  static block(ppn: readonly number[]): Taskmap {
    const blocks: [number, number, number, number][] = [];
    ppn.forEach((count, nodeid) => {
      const last = blocks.at(-1);
      if (count === 0) return;
      if (last && last[2] === count && last[0] + last[1] === nodeid) last[1]++;
      else blocks.push([nodeid, 1, count, 1]);
    });
    return new Taskmap(blocks);
  }

  /** `ppn[nodeid]` tasks on each node, dealt out `stride` at a time in turns: cyclic:N. */
  static cyclic(ppn: readonly number[], stride = 1): Taskmap {
    if (!Number.isInteger(stride) || stride < 1)
      throw new FormatError("taskmap stride", String(stride), "must be a positive integer");
    const left = [...ppn];
    const blocks: [number, number, number, number][] = [];
    while (left.some((count) => count > 0)) {
      let open: [number, number, number, number] | undefined;
      left.forEach((count, nodeid) => {
        const take = Math.min(count, stride);
        if (take === 0) return;
        left[nodeid] = count - take;
        if (open && open[2] === take && open[0] + open[1] === nodeid) open[1]++;
        else {
          open = [nodeid, 1, take, 1];
          blocks.push(open);
        }
      });
    }
    return new Taskmap(repeated(blocks));
  }

  /** From the node of each task, e.g. what a manual mapping or a host file says. */
  static fromNodeids(nodeids: ArrayLike<number>): Taskmap {
    return new Taskmap(blocksOf(nodeids));
  }

  get isUnknown(): boolean {
    return this.blocks.length === 0;
  }

  /** Tasks of a node. */
  taskids(nodeid: number): IdSet {
    const ids = new IdSet();
    let base = 0;
    for (const [first, nnodes, ppn, repeat] of this.blocks) {
      if (nodeid >= first && nodeid < first + nnodes) {
        for (let turn = 0; turn < repeat; turn++) {
          const start = base + turn * nnodes * ppn + (nodeid - first) * ppn;
          ids.addRange(start, start + ppn - 1);
        }
      }
      base += nnodes * ppn * repeat;
    }
    return ids;
  }

  ntasksOf(nodeid: number): number {
    return this.blocks.reduce(
      (sum, [first, nnodes, ppn, repeat]) => sum + (nodeid >= first && nodeid < first + nnodes ? ppn * repeat : 0),
      0,
    );
  }

  /** Node of a task, undefined when there is no such task. */
  nodeid(taskid: number): number | undefined {
    let rest = taskid;
    for (const [first, nnodes, ppn, repeat] of this.blocks) {
      const size = nnodes * ppn * repeat;
      if (rest >= 0 && rest < size) return first + Math.floor((rest % (nnodes * ppn)) / ppn);
      rest -= size;
    }
    return undefined;
  }

  /** Node of every task. */
  nodeids(): Int32Array {
    const result = new Int32Array(this.ntasks);
    let task = 0;
    for (const [first, nnodes, ppn, repeat] of this.blocks) {
      for (let turn = 0; turn < repeat; turn++) {
        for (let node = first; node < first + nnodes; node++) {
          result.fill(node, task, task + ppn);
          task += ppn;
        }
      }
    }
    return result;
  }

  toJSON(): readonly TaskmapBlock[] {
    return this.blocks;
  }

  toString(form: TaskmapForm = "json"): string {
    if (form === "json") return JSON.stringify(this.blocks);
    if (form === "wrapped") return JSON.stringify({ version: 1, map: this.blocks });
    if (form === "raw") {
      return Array.from({ length: this.nnodes }, (_, nodeid) => this.taskids(nodeid).toString()).join(";");
    }
    const count = this.blocks.reduce((sum, block) => sum + block[3], 0);
    if (count > MAX_BLOCKS) throw new FormatError(WHAT, "", `the PMI form would have more than ${MAX_BLOCKS} blocks`);
    return `(vector${this.blocks.map(([nodeid, nnodes, ppn, repeat]) => `,(${nodeid},${nnodes},${ppn})`.repeat(repeat)).join("")})`;
  }
}
