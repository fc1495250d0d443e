// Templates in options, arguments and variables: {{id}}, {{jobid.dec}}, {{name}}, {{ntasks}}, {{taskid}}, {{task.*}}, {{node.*}},
// {{tmpdir}}, and what an initrc adds. A tag that stands for nothing here stays as it is.
import { formatJobId, JOB_ID_FORMS, type JobIdForm } from "../formats/fluid.ts";
import { hasTemplate, renderTemplate } from "../formats/subst.ts";
import type { JobNode } from "./layout.ts";
import { LOG } from "./log.ts";
import type { Shell } from "./shell.ts";
import type { Task } from "./task.ts";

/** Which node and task a text is rendered for. */
export interface TemplateScope {
  readonly shellRank?: number;
  readonly task?: Pick<Task, "rank" | "localId">;
}

/** Renders a text; what cannot be rendered is logged and stays. */
export function renderFor(shell: Shell, text: string, scope: TemplateScope): string {
  if (!hasTemplate(text)) return text;
  const resolve = (tag: string): string => resolveTag(shell, tag, scope) ?? shell.extensions?.render(tag, scope.task) ?? `{{${tag}}}`;
  const { text: rendered, errors } = renderTemplate(text, resolve);
  for (const error of errors) shell.log(LOG.error, error, "mustache");
  return rendered;
}

/** True when a text is different for different nodes or tasks of a job. */
export function isPerTask(text: string): boolean {
  return /\{\{\s*(?:task\.|node\.|taskid)/.test(text);
}

/** True when a text is different for different tasks of a node. */
export function isPerTaskOfNode(text: string): boolean {
  return /\{\{\s*(?:task\.|taskid)/.test(text);
}

function resolveTag(shell: Shell, tag: string, scope: TemplateScope): string | undefined {
  const { job } = shell;
  if (tag === "name") return job.name;
  if (tag === "nnodes") return String(job.nodes.length);
  if (tag === "ntasks" || tag === "size") return String(job.ntasks);
  if (tag === "tmpdir") return shell.env["FLUX_JOB_TMPDIR"];
  if (tag === "taskid") return resolveTask(scope, "id");
  if (tag.startsWith("task.")) return resolveTask(scope, tag.slice(5));
  if (tag.startsWith("node.")) return scope.shellRank === undefined ? undefined : resolveNode(job.nodes[scope.shellRank], scope.shellRank, tag.slice(5));
  const id = /^(?:job)?id(?:\.(.+))?$/.exec(tag);
  if (id === null) return undefined;
  if (id[1] === undefined || id[1] === "f58") return job.f58;
  if (JOB_ID_FORMS.includes(id[1] as JobIdForm)) return formatJobId(job.id, id[1] as JobIdForm);
  throw new Error(`Invalid jobid encoding '${tag}' specified`);
}

function resolveTask({ task }: TemplateScope, what: string): string | undefined {
  if (what === "id" || what === "rank") return task === undefined ? undefined : String(task.rank);
  if (what === "index" || what === "localid") return task === undefined ? undefined : String(task.localId);
  return undefined;
}

function resolveNode(node: JobNode | undefined, shellRank: number, what: string): string | undefined {
  if (node === undefined) return undefined;
  const { cores, gpus, host } = node;
  switch (what) {
    case "id":
      return String(shellRank);
    case "name":
      return host;
    case "cores":
      return cores.toString();
    case "gpus":
      return gpus.toString();
    case "ncores":
      return String(cores.count);
    case "resources":
      return JSON.stringify({ ncores: cores.count, cores: cores.toString(), gpus: gpus.toString() });
    default:
      return undefined;
  }
}
