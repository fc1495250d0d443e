// openLink: the link that a URI names (local:///path/to/socket, ssh://host/path/to/socket). Default: $FLUX_URI, then the system instance.
import type { Link } from "./link.ts";
import { errno, FluxError, isErrno, toFluxError } from "../message/errno.ts";
import { writeStderr } from "../os/stderr.ts";
import { withMockUser } from "./mock-user.ts";
import { withTrace } from "./trace.ts";
import { connectUnix } from "./unix.ts";

/** Where a system instance listens. */
const SYSTEM_URI = "local:///run/flux/local";

/** Throws FluxError with a text that says what is wrong with the URI or its broker. */
export async function openLink(uri: string | undefined = process.env["FLUX_URI"]): Promise<Link> {
  return uri === undefined ? openSystemLink() : openNamedLink(uri);
}

async function openSystemLink(): Promise<Link> {
  try {
    return await openNamedLink(SYSTEM_URI);
  } catch (err) {
    if (!isErrno(err, errno.ENOENT)) throw err;
    throw new FluxError(errno.ENOENT, `${toFluxError(err).message}: this is no Flux instance, 'flux start' starts one`);
  }
}

async function openNamedLink(uri: string): Promise<Link> {
  const match = /^([a-z]+):\/\/([^?]*)/.exec(uri);
  if (match === null) throw new FluxError(errno.EINVAL, `malformed URI '${uri}': expected local:///path/to/socket`);
  const [, scheme, path = ""] = match;
  if (scheme === "local") return dressed(await connectUnix(path));
  if (scheme !== "ssh") throw new FluxError(errno.ENOSYS, `no connector for '${scheme}://' URIs: only local:// and ssh:// are supported`);
  const { connectSsh } = await import("./ssh.ts");
  return dressed(await connectSsh(uri));
}

/** With what the environment asks for; closes the link when that makes no sense. */
function dressed(link: Link): Link {
  try {
    return withMockUser(withTrace(link, process.env, writeStderr, () => performance.now()), process.env);
  } catch (err) {
    link.close();
    throw err;
  }
}
