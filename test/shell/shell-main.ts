// A shell process of the tests: `flux shell` without the command line around it.
import { Flux } from "../../src/client/flux.ts";
import { runWorker } from "../../src/shell/worker.ts";

const h = await Flux.open();
await runWorker(h, { pid: process.pid });
h.close();
