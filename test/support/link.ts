// A handle whose broker is played by a few lines: for what a real one seldom says.
import { Flux } from "../../src/client/flux.ts";
import { errno, FluxError } from "../../src/message/errno.ts";
import { errorResponse, MSG_REQUEST, responseMessage } from "../../src/message/message.ts";
import { memoryLinkPair } from "../../src/transport/memory.ts";

/** Its broker has no attributes, fails with ENOMEM when it is asked for this one, and says yes to everything else. */
export function handleWithout(attribute: string): Flux {
  const [link, broker] = memoryLinkPair();
  broker.start((message) => {
    if (message.type !== MSG_REQUEST || !message.wantsResponse) return;
    if (message.topic !== "attr.get") return broker.send(responseMessage(message, {}));
    broker.send(errorResponse(message, new FluxError(message.payload["name"] === attribute ? errno.ENOMEM : errno.ENOENT)));
  }, () => undefined);
  return new Flux(link, { name: "test" });
}
