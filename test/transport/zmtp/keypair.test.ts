import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { decodeKey, decodeZ85, encodeZ85, formatCertificate, generateKeypair, keypairOf, parseCertificate } from "../../../src/transport/zmtp/mod.ts";

describe("Z85", () => {
  test("the example of ZeroMQ RFC 32", () => {
    const bytes = new Uint8Array(Buffer.from("864FD26FB559F75B", "hex"));
    expect(encodeZ85(bytes)).toBe("HelloWorld");
    expect(decodeZ85("HelloWorld")).toEqual(bytes);
  });

  test("round trip", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const whole = bytes.slice(0, bytes.length - (bytes.length % 4));
        expect(decodeZ85(encodeZ85(whole))).toEqual(whole);
      }),
    );
  });

  test("errors name the position", () => {
    expect(() => decodeZ85("Hello~orld")).toThrow("character at 5");
    expect(() => decodeZ85("Hello#####")).toThrow("group at 5");
    expect(() => decodeZ85("Hell")).toThrow("multiple of 5");
    expect(() => decodeKey("HelloWorld")).toThrow("40 characters");
  });
});

describe("certificates", () => {
  // The pair of RFC 26's test keys, as libzmq's manual gives it.
  const text = `#  ZeroMQ CURVE **Secret** Certificate
#  DO NOT DISTRIBUTE

metadata
    name = "fluke"
    keygen.czmq-version = "4.2.0"
curve
    public-key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
    secret-key = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
`;

  test("reads what flux keygen writes, and writes it back", () => {
    const certificate = parseCertificate(text);
    expect([...certificate.metadata]).toEqual([["name", "fluke"], ["keygen.czmq-version", "4.2.0"]]);
    expect(encodeZ85(certificate.keypair.publicKey)).toBe("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID");
    expect(formatCertificate(certificate)).toBe(text);
  });

  test("new pairs survive", () => {
    const certificate = { keypair: generateKeypair(), metadata: new Map([["hostname", "node 1"]]) };
    expect(parseCertificate(formatCertificate(certificate))).toEqual(certificate);
  });

  test.each([
    ["no keys", "metadata\n", "required"],
    ["an unknown section", "secrets\n", "line 1"],
    ["an entry outside", "    a = \"b\"\n", "line 1: an entry outside"],
    ["no quotes", text.replace('"fluke"', "fluke"), "line 5"],
    ["a strange name", text.replace("name", "na me"), "line 5"],
    ["a strange value", text.replace("fluke", "flu;ke"), "line 5"],
    ["an entry twice", text.replace("keygen.czmq-version", "name"), "line 6: 'name' is there twice"],
    ["an unknown key", text.replace("secret-key", "private-key"), "private-key"],
    ["keys of different pairs", text.replace("secret-key = \"D", "secret-key = \"E"), "does not belong"],
    ["a short key", text.replace('secret-key = "D', 'secret-key = "'), "40 characters"],
  ])("%s", (_name, bad, message) => expect(() => parseCertificate(bad)).toThrow(message));

  test("metadata that can't be read back is not written", () => {
    const keypair = keypairOf("Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs");
    expect(() => formatCertificate({ keypair, metadata: new Map([["name", 'a"\ncurve']]) })).toThrow("metadata name");
  });
});
