import { expect, test } from "bun:test";
import { Real } from "../../../core/row/value.ts";
import { keySeparator, keyText, parseKeyText } from "./key-text.ts";

test("keys that SQLite holds equal have one text, and others have others", () => {
  expect(keyText([new Real(1), "a"])).toBe(keyText([1, "a"]));
  const different = [1, "1", new Real(1.5), new Real(Number.POSITIVE_INFINITY), null, "null", "1,"];
  expect(new Set(different.map((value) => keyText([value]))).size).toBe(different.length);
  expect(keyText(["a,", "b"])).not.toBe(keyText(["a", ",b"]));
  expect(keyText([`a${keySeparator}b`])).not.toContain(keySeparator);
});

test("strings and integers are read off a key's text, and nothing else is", () => {
  expect(parseKeyText(keyText(["a,\n", 1, -7]))).toEqual(["a,\n", 1, -7]);
  const others = [
    new Real(1.5),
    new Real(Number.NEGATIVE_INFINITY),
    null,
    2n ** 60n,
    new Uint8Array([97]),
  ];
  expect(others.map((value) => parseKeyText(keyText([value])))).toEqual(
    others.map(() => undefined),
  );
});
