// Where a site's files for all job shells are, unless broker attributes conf.shell_pluginpath and conf.shell_initrc say otherwise.
export const SHELL_PLUGINPATH = "/etc/flux/shell/plugins";
export const SHELL_INITRC = "/etc/flux/shell/initrc.js";
