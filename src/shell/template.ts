// Templates in options and arguments: {{id}}, {{jobid.dec}}, {{name}}, {{ntasks}}, {{taskid}}, {{task.*}}, {{node.*}}, {{tmpdir}}.
import { formatJobId, JOB_ID_FORMS, type JobIdForm } from "../formats/fluid.ts";
import { hasTemplate, renderTemplate } from "../formats/subst.ts";
import { LOG } from "./log.ts";
import type { Shell } from "./shell.ts";
import type { Task } from "./task.ts";

/** Which node and task a text is rendered for; a tag of what is missing stays as it is. */
export interface TemplateScope {
  readonly shellRank?: number;
  readonly task?: Pick<Task, "rank" | "localId">;
}

/** Renders a text; tags that stand for nothing are logged and stay. */
export function renderFor(shell: Shell, text: string, scope: TemplateScope): string {
  if (!hasTemplate(text)) return text;
  const { text: rendered, errors } = renderTemplate(text, (tag) => resolveTag(shell, tag, scope));
  for (const error of errors) shell.log(LOG.error, error, "mustache");
  return rendered;
}

/** True when a text is different for different nodes or tasks of a job. */
export function isPerTask(text: string): boolean {
  return /\{\{\s*(?:task\.|node\.|taskid)/.test(text);
}

function resolveTag(shell: Shell, tag: string, scope: TemplateScope): string | undefined {
  const { job } = shell;
  if (tag === "name") return job.name;
  if (tag === "nnodes") return String(job.nodes.length);
  if (tag === "ntasks" || tag === "size") return String(job.ntasks);
  if (tag === "tmpdir") return shell.env["FLUX_JOB_TMPDIR"];
  if (tag === "taskid") return resolveTask(scope, "id", tag);
  if (tag.startsWith("task.")) return resolveTask(scope, tag.slice(5), tag);
  if (tag.startsWith("node.")) return resolveNode(shell, scope, tag);
  const id = /^(?:job)?id(?:\.(\w+))?$/.exec(tag);
  if (id === null) return undefined;
  if (id[1] === undefined || id[1] === "f58") return job.f58;
  return JOB_ID_FORMS.includes(id[1] as JobIdForm) ? formatJobId(job.id, id[1] as JobIdForm) : undefined;
}

function resolveTask(scope: TemplateScope, what: string, tag: string): string | undefined {
  if (scope.task === undefined) return `{{${tag}}}`;
  if (what === "id" || what === "rank") return String(scope.task.rank);
  if (what === "index" || what === "localid") return String(scope.task.localId);
  return undefined;
}

function resolveNode(shell: Shell, scope: TemplateScope, tag: string): string | undefined {
  const node = scope.shellRank === undefined ? undefined : shell.job.nodes[scope.shellRank];
  if (node === undefined) return `{{${tag}}}`;
  switch (tag.slice(5)) {
    case "id":
      return String(scope.shellRank);
    case "name":
      return node.host;
    case "cores":
      return node.cores.toString();
    case "gpus":
      return node.gpus.toString();
    case "ncores":
      return String(node.cores.count);
    default:
      return undefined;
  }
}
