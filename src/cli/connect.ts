// How a command reaches its broker, and how it says that there is none.
import { Flux } from "../client/flux.ts";
import { FluxError, strerror } from "../message/errno.ts";
import { UsageError } from "./command.ts";

/** Runs `run` with a handle on $FLUX_URI's broker, which is closed afterwards. Throws UsageError when there is none. */
export async function withFlux<T>(run: (h: Flux) => Promise<T>): Promise<T> {
  const h = await connect();
  try {
    return await run(h);
  } finally {
    h.close();
  }
}

async function connect(): Promise<Flux> {
  try {
    return await Flux.open();
  } catch (err) {
    if (err instanceof FluxError) throw new UsageError(`Unable to connect to Flux: ${err.message}`);
    throw err;
  }
}

/** Awaits `answer`; a FluxError becomes `PREFIX: TEXT`, with strerror(3)'s text unless `serverText` asks for the service's. */
export async function explain<T>(prefix: string, answer: Promise<T>, serverText: boolean = false): Promise<T> {
  try {
    return await answer;
  } catch (err) {
    throw explained(prefix, err, serverText);
  }
}

/** The error that explain() throws. */
export function explained(prefix: string, err: unknown, serverText: boolean = false): unknown {
  if (!(err instanceof FluxError)) return err;
  return new UsageError(`${prefix}: ${serverText ? err.message : strerror(err.errno)}`);
}
