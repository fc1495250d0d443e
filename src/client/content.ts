// What clients of the content store (RFC 10) need to know of it.
import { type HashName, isHashName } from "../formats/blobref.ts";
import { errno, FluxError, isErrno } from "../message/errno.ts";
import type { Flux } from "./flux.ts";

/** The instance's hash: attribute content.hash, sha1 when nobody set it. */
export async function hashAttribute(h: Flux): Promise<HashName> {
  let name: string;
  try {
    name = await h.attr("content.hash");
  } catch (err) {
    if (!isErrno(err, errno.ENOENT)) throw err;
    name = "sha1";
    await h.rpc("attr.set", { name: "content.hash", value: name });
  }
  if (!isHashName(name)) throw new FluxError(errno.EINVAL, `content.hash: ${name} is not sha1 or sha256`);
  return name;
}
