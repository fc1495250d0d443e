// Objects as words of a command line: KEY=VALUE, where a key may have dots and a value is JSON or plain text.
import { decodeJson, isJsonObject, type Json, type JsonObject } from "../formats/json.ts";

/** "limits.size=5" → {limits: {size: 5}}; a word without = is true. */
export function objectOfWords(words: readonly string[]): JsonObject {
  let object: JsonObject = {};
  for (const word of words) {
    const equals = word.indexOf("=");
    const [key, value] = equals < 0 ? [word, true] : [word.slice(0, equals), jsonOrText(word.slice(equals + 1))];
    object = withMember(object, key.split("."), value);
  }
  return object;
}

/** A value of a command line: what it says as JSON, or itself. */
export function jsonOrText(word: string): Json {
  try {
    return decodeJson(word) as Json;
  } catch {
    return word;
  }
}

/** The object with one more member, in objects within it that are made where needed. */
export function withMember(object: JsonObject, path: readonly string[], value: Json): JsonObject {
  const [name = "", ...rest] = path;
  if (rest.length === 0) return { ...object, [name]: value };
  const inner = object[name];
  return { ...object, [name]: withMember(isJsonObject(inner) ? inner : {}, rest, value) };
}
