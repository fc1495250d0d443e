// openmpi: Open MPI puts what the tasks of a node share into a directory, which must be another one for each job: FLUX_JOB_TMPDIR.
// Not with option mpi=none.
import type { Plugin } from "../plugin.ts";

export function openmpiPlugin(): Plugin {
  return {
    name: "openmpi",
    init(shell) {
      const directory = shell.env["FLUX_JOB_TMPDIR"];
      if (directory !== undefined && shell.option("mpi") !== "none") shell.env["OMPI_MCA_btl_vader_backing_directory"] = directory;
    },
  };
}
