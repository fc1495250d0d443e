// env-expand: templates in variables. Option {NAME: TEMPLATE}, as --env=NAME=TEMPLATE makes it. What is different for each task is
// rendered for each task.
import { hasTemplate } from "../../formats/subst.ts";
import { objectOf } from "../job.ts";
import { LOG } from "../log.ts";
import type { Plugin } from "../plugin.ts";
import { renderFor } from "../template.ts";

export function envExpandPlugin(): Plugin {
  const perTask = new Map<string, string>();
  return {
    name: "env-expand",
    init(shell) {
      for (const [name, template] of Object.entries(objectOf(shell.option("env-expand")))) {
        if (typeof template !== "string") {
          shell.log(LOG.error, `invalid value for env var ${name}`, "env-expand");
          continue;
        }
        const value = renderFor(shell, template, { shellRank: shell.job.shellRank });
        if (hasTemplate(value)) perTask.set(name, template);
        else shell.env[name] = value;
      }
    },
    taskInit(shell, task) {
      for (const [name, template] of perTask) task.env[name] = renderFor(shell, template, { shellRank: shell.job.shellRank, task });
    },
  };
}
