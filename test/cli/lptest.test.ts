// flux lptest: the pattern of line printers.
import { expect, test } from "bun:test";
import { lines } from "../../src/cli/lptest.ts";

test("each line begins one character later, and the pattern is endless", () => {
  expect(lines(4, 0, 3)).toEqual(['!"#$', '"#$%', "#$%&"]);
  expect(lines(3, 93, 2)).toEqual(['~!"', '!"#']);
  expect(lines(200, 5, 1)[0]).toHaveLength(200);
  expect(lines(0, 0, 2)).toEqual(["", ""]);
});
