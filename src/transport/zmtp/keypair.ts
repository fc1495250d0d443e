// CURVE keys: pairs of 32 bytes, their Z85 text (ZeroMQ RFC 32), and flux's certificate file, as flux-keygen(1) writes it
// and the broker reads it: a subset of ZPL (ZeroMQ RFC 4) with the sections `metadata` and `curve`.
import { randomBytes as systemRandomBytes } from "node:crypto";
import { errno, FluxError } from "../../message/errno.ts";
import { KEY_SIZE, publicKeyOf } from "./x25519.ts";

export interface Keypair {
  publicKey: Uint8Array;
  secretKey: Uint8Array;
}

export interface Certificate {
  keypair: Keypair;
  /** In file order. */
  metadata: ReadonlyMap<string, string>;
}

export type RandomBytes = (size_bytes: number) => Uint8Array;

const ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
const DIGITS = new Map(Array.from(ALPHABET).map((character, value) => [character, value]));
const CERTIFICATE_MAX_CHARACTERS = 65_536;

/** A new pair. */
export function generateKeypair(randomBytes: RandomBytes = systemRandomBytes): Keypair {
  const secretKey = new Uint8Array(randomBytes(KEY_SIZE));
  return { publicKey: publicKeyOf(secretKey), secretKey };
}

/** The pair whose keys have these Z85 texts. Throws FluxError EINVAL when they don't belong together. */
export function keypairOf(publicZ85: string, secretZ85: string): Keypair {
  const keypair = { publicKey: decodeKey(publicZ85), secretKey: decodeKey(secretZ85) };
  if (Buffer.compare(publicKeyOf(keypair.secretKey), keypair.publicKey) !== 0) {
    throw new FluxError(errno.EINVAL, "the public key does not belong to the secret key");
  }
  return keypair;
}

/** Z85 of bytes, whose number must be a multiple of 4. */
export function encodeZ85(bytes: Uint8Array): string {
  if (bytes.length % 4 !== 0) throw new FluxError(errno.EINVAL, "Z85 encodes multiples of 4 bytes");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    let value = view.getUint32(at);
    let group = "";
    for (let i = 0; i < 5; i++) {
      group = ALPHABET.charAt(value % 85) + group;
      value = Math.floor(value / 85);
    }
    text += group;
  }
  return text;
}

/** Bytes of a Z85 text. Throws FluxError EINVAL that names the position. */
export function decodeZ85(text: string): Uint8Array {
  if (text.length % 5 !== 0) throw new FluxError(errno.EINVAL, "a Z85 text has a multiple of 5 characters");
  const bytes = new Uint8Array((text.length / 5) * 4);
  const view = new DataView(bytes.buffer);
  for (let group = 0; group * 5 < text.length; group++) {
    let value = 0;
    for (let at = group * 5; at < group * 5 + 5; at++) {
      const digit = DIGITS.get(text.charAt(at));
      if (digit === undefined) throw new FluxError(errno.EINVAL, `Z85: unexpected character at ${at}`);
      value = value * 85 + digit;
    }
    if (value > 0xffff_ffff) throw new FluxError(errno.EINVAL, `Z85: the group at ${group * 5} is too large`);
    view.setUint32(group * 4, value);
  }
  return bytes;
}

/** A key from its 40 characters of Z85. Throws FluxError EINVAL. */
export function decodeKey(text: string): Uint8Array {
  if (text.length !== 40) throw new FluxError(errno.EINVAL, `a CURVE key has 40 characters of Z85, not ${text.length}`);
  return decodeZ85(text);
}

/** The text of a certificate file. Write it with mode 0600. Throws FluxError EINVAL for metadata that can't be read back. */
export function formatCertificate(certificate: Certificate): string {
  const lines = ["#  ZeroMQ CURVE **Secret** Certificate", "#  DO NOT DISTRIBUTE", "", "metadata"];
  for (const [key, value] of certificate.metadata) {
    checkEntry(key, value, `metadata ${key}`);
    lines.push(`    ${key} = "${value}"`);
  }
  lines.push("curve");
  lines.push(`    public-key = "${encodeZ85(certificate.keypair.publicKey)}"`);
  lines.push(`    secret-key = "${encodeZ85(certificate.keypair.secretKey)}"`);
  return `${lines.join("\n")}\n`;
}

/** Reads a certificate file's text. Throws FluxError EINVAL that names the line. */
export function parseCertificate(text: string): Certificate {
  if (text.length > CERTIFICATE_MAX_CHARACTERS) throw new FluxError(errno.EINVAL, "the certificate file is too long");
  const sections = { metadata: new Map<string, string>(), curve: new Map<string, string>() };
  let section: Map<string, string> | undefined;
  text.split("\n").forEach((line, index) => {
    const stripped = line.trim();
    if (stripped === "" || stripped.startsWith("#")) return;
    const where = `certificate line ${index + 1}`;
    if (/^[ \t]/.test(line)) addEntry(section, stripped, where);
    else if (stripped === "metadata" || stripped === "curve") section = sections[stripped];
    else throw new FluxError(errno.EINVAL, `${where}: expected 'metadata' or 'curve'`);
  });
  return { keypair: certificateKeys(sections.curve), metadata: sections.metadata };
}

function addEntry(section: Map<string, string> | undefined, line: string, where: string): void {
  if (section === undefined) throw new FluxError(errno.EINVAL, `${where}: an entry outside of a section`);
  const match = /^([^=]*?)\s*=\s*"(.*)"$/.exec(line);
  const [key, value] = [match?.[1], match?.[2]];
  if (key === undefined || value === undefined) throw new FluxError(errno.EINVAL, `${where}: expected key = "value"`);
  checkEntry(key, value, where);
  if (section.has(key)) throw new FluxError(errno.EINVAL, `${where}: '${key}' is there twice`);
  section.set(key, value);
}

function checkEntry(key: string, value: string, where: string): void {
  if (!/^[A-Za-z0-9.-]+$/.test(key)) throw new FluxError(errno.EINVAL, `${where}: a name has only letters, digits, '-' and '.'`);
  if (!/^[A-Za-z0-9.\-:+=^!/*?&<>()[\]{}@%$# \t]*$/.test(value)) {
    throw new FluxError(errno.EINVAL, `${where}: a value has only letters, digits, blanks and .-:+=^!/*?&<>()[]{}@%$#`);
  }
}

function certificateKeys(curve: ReadonlyMap<string, string>): Keypair {
  for (const key of curve.keys()) {
    if (key !== "public-key" && key !== "secret-key") throw new FluxError(errno.EINVAL, `certificate: unknown entry '${key}'`);
  }
  const [publicZ85, secretZ85] = [curve.get("public-key"), curve.get("secret-key")];
  if (publicZ85 === undefined || secretZ85 === undefined) {
    throw new FluxError(errno.EINVAL, "certificate: public-key and secret-key are required");
  }
  return keypairOf(publicZ85, secretZ85);
}
