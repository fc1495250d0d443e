// The business card that each broker hands to the others while they boot: where it listens and with which CURVE key.
// One word of text without spaces or '=', under 900 bytes, because launchers' key-value stores cut more than that.
import { errno, FluxError } from "../../message/errno.ts";
import { opt, str, unpack } from "../../message/unpack.ts";

export interface Card {
  readonly hostname: string;
  /** Z85. */
  readonly publicKey: string;
  /** Where its children connect; undefined for a broker without children. */
  readonly endpoint: string | undefined;
}

const CARD_MAX_BYTES = 900;

export function formatCard(card: Card): string {
  const text = Buffer.from(JSON.stringify({ host: card.hostname, key: card.publicKey, uri: card.endpoint })).toString("base64url");
  if (text.length > CARD_MAX_BYTES) throw new FluxError(errno.EMSGSIZE, `this broker's address card has ${text.length} bytes (limit ${CARD_MAX_BYTES})`);
  return text;
}

/** Throws FluxError EPROTO naming the rank whose card is not one. */
export function parseCard(text: string, rank: number): Card {
  try {
    const value = JSON.parse(Buffer.from(text, "base64url").toString()) as { [key: string]: string };
    const { host, key, uri } = unpack(value, { host: str, key: str, uri: opt(str) });
    return { hostname: host, publicKey: key, endpoint: uri };
  } catch (err) {
    throw new FluxError(errno.EPROTO, `broker ${rank} published a malformed address card`, { cause: err });
  }
}
