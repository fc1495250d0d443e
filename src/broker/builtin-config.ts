// Where things are on a machine, fixed when Flux is built: `flux config builtin`, and "broker.conf-builtin" for clients. We are
// one executable without files of our own; these are the directories where sites and packages put theirs.

import { nativeLibrary } from "../os/native.ts";
import { SHELL_INITRC, SHELL_PLUGINPATH } from "../shell/site.ts";

export const BUILTIN_CONFIG = {
  rc1_path: "flux modprobe rc1",
  rc3_path: "flux modprobe rc3",
  confdir: "/etc/flux",
  rundir: "/run/flux",
  datadir: "/usr/share/flux",
  libexecdir: "/usr/libexec/flux",
  exec_path: "/usr/libexec/flux/cmd",
  module_path: "/usr/lib/flux/modules",
  connector_path: "/usr/lib/flux/connectors",
  jobtap_pluginpath: "/usr/lib/flux/job-manager/plugins",
  shell_pluginpath: SHELL_PLUGINPATH,
  shell_initrc: SHELL_INITRC,
  shell_path: "/usr/libexec/flux/flux-shell",
  pmi_library_path: nativeLibrary("libpmi.so") ?? "/usr/lib/flux/libpmi.so",
  lua_path_add: "/usr/share/lua/5.1/?.lua",
  lua_cpath_add: "/usr/lib/lua/5.1/?.so",
  python_path: "/usr/lib/flux/python3",
} as const;
