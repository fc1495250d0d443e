// The "attr" service: broker attributes for clients (flux-getattr(1), flux-setattr(1), flux-lsattr(1)).
//
//   attr.get  { name } → { value, flags }     flags 1: immutable, may be cached
//   attr.set  { name, value, force? }         owner only
//   attr.list → { names }
//   attr.rm   { name }                        owner only
import type { Flux } from "../../client/flux.ts";
import { allowUser } from "../../client/service.ts";
import { bool, def, str } from "../../message/unpack.ts";
import type { Attributes } from "../attributes.ts";

const FLAG_IMMUTABLE = 1;

export async function serveAttr(h: Flux, attrs: Attributes): Promise<void> {
  await h.serve("attr", {
    get: allowUser((req) => {
      const { value, immutable } = attrs.lookup(req.unpack({ name: str }).name);
      return { value, flags: immutable ? FLAG_IMMUTABLE : 0 };
    }),
    list: allowUser(() => ({ names: attrs.names() })),
    set: (req) => {
      const { name, value, force } = req.unpack({ name: str, value: str, force: def(bool, false) });
      attrs.setAtRuntime(name, value, force);
    },
    rm: (req) => attrs.delete(req.unpack({ name: str }).name),
  });
}
