import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { RawText, Real, type SqlValue } from "../../core/row/value.ts";
import { JsonError, JsonReader, type JsonValue, jsonDepthMax, parseJson } from "./json-reader.ts";
import {
  NotUtf8Error,
  realToJson,
  secondsToJson,
  sqlValuesToJson,
  sqlValueToJson,
} from "./json-writer.ts";

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const integer = int64.map((value): number | bigint => {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
});
const real = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => new Real(value));
const text = fc.string({ unit: "grapheme" });

describe("JsonReader", () => {
  test("reads back every value of SQLite that JSON can say", () => {
    const value: fc.Arbitrary<SqlValue> = fc.oneof(fc.constant(null), integer, real, text);
    fc.assert(
      fc.property(fc.array(value), (values) => {
        expect(parseJson(sqlValuesToJson(values))).toEqual(values as JsonValue[]);
      }),
    );
  });

  test("agrees with JSON.parse on what JSON.stringify writes, but for its numbers", () => {
    fc.assert(
      fc.property(fc.jsonValue({ depthSize: "large" }), fc.constantFrom(0, 2), (value, indent) => {
        expect(toPlain(parseJson(JSON.stringify(value, null, indent)))).toEqual(
          JSON.parse(JSON.stringify(value)),
        );
      }),
    );
  });

  // A BLOB of a megabyte is a million numbers.
  test("takes lists of many byte numbers for bytes, and says of all others what it always says", () => {
    const item = fc.oneof(
      { weight: 300, arbitrary: fc.integer({ min: 0, max: 255 }).map(String) },
      fc.constantFrom(
        "256",
        "01",
        "-1",
        "1.0",
        "1e1",
        "-0",
        "null",
        '"1"',
        "",
        "[1]",
        "]",
        "[",
        "99999999999",
      ),
    );
    const space = fc.constantFrom("", "", "", " ", "\n", "\r\t ");
    const list = fc
      .array(fc.tuple(space, item, space), { maxLength: 40 })
      .map((items) => `[${items.map((parts) => parts.join("")).join(",")}]`);
    const read = (input: string, takesBytes: boolean) => {
      const reader = new JsonReader(input, { takesBytes });
      const value = reader.value();
      reader.end();
      return value;
    };
    fc.assert(
      fc.property(list, fc.constantFrom("", ",", "}", ",7]"), (inner, after) => {
        for (const input of [`${inner}${after}`, `["x",${inner}${after}]`]) {
          const plain = attempt(() => read(input, false));
          expect(attempt(() => withoutBytes(read(input, true)))).toEqual(plain);
        }
      }),
      { numRuns: 1000 },
    );
    const numbers = Array.from({ length: 16 }, (_, i) => i);
    expect(read(JSON.stringify(numbers), true)).toEqual(Uint8Array.from(numbers));
    expect(read(JSON.stringify(numbers.slice(1)), true)).toEqual(numbers.slice(1));
  });

  // Whoever sends them holds everybody up for as long as they are read.
  test("reads no more values than it may, but any number of bytes and escapes", () => {
    const long = 500_000;
    const whole = `"${"\\n".repeat(long)}"`;
    const bytes = `[${new Array(long).fill(7)}]`;
    expect(parseJson(whole)).toHaveLength(long);
    expect(() => parseJson(`${whole.slice(0, -1)}\\x"`)).toThrow(
      "invalid escape at line 1 column 1000003",
    );
    expect(new JsonReader(bytes, { takesBytes: true }).value()).toHaveLength(long);
    const reader = new JsonReader(bytes, { valuesMax: 1000 });
    expect(() => reader.value()).toThrow("over 1000 values at line 1 column 2000");
    const anew = new JsonReader("[1][2][3]", { valuesMax: 3 });
    expect(anew.value()).toEqual([1]);
    anew.countAnew();
    expect(anew.value()).toEqual([2]);
    expect(() => anew.value()).toThrow("over 3 values");
  });

  // Whatever comes over the socket: an error that names a place, or a value; never anything else.
  test("accepts what JSON.parse accepts and refuses the rest", () => {
    const fragment = fc.constantFrom(
      ...'[]{}:,"\\/ \n\t01234567890.-+eE',
      "true",
      "false",
      "null",
      '"a"',
      "\\u",
      "d83d",
      "\u0000",
      "é",
      "1e5",
    );
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 12 }), (fragments) => {
        const input = fragments.join("");
        const expected = attempt(() => JSON.parse(input));
        const got = attempt(() => toPlain(parseJson(input)));
        if ("value" in got) expect(got).toEqual(expected);
        else {
          expect(got.error).toBeInstanceOf(JsonError);
          expect((got.error as JsonError).message).toMatch(/ at line \d+ column \d+$/);
          // Two things that JSON.parse lets pass: lone surrogates, and numbers beyond a double.
          const isStricter = /surrogate|hex escape|out of range/.test(String(got.error));
          if (!isStricter) expect(expected).toHaveProperty("error");
        }
      }),
      { numRuns: 3000, examples: [[["-", "0"]], [["\\u"]], [["1e5", "0", "0"]]] },
    );
  });

  test.each([
    ["9007199254740991", 9007199254740991],
    ["9007199254740992", 9007199254740992n],
    ["9223372036854775807", 9223372036854775807n],
    ["-9223372036854775808", -9223372036854775808n],
    ["9223372036854775808", new Real(2 ** 63)],
    ["18446744073709551615", new Real(2 ** 64)],
    ["1.0", new Real(1)],
    ["1e2", new Real(100)],
    ["-0", new Real(-0)],
    ["0", 0],
  ])("%s is told apart", (input, value) => {
    expect(parseJson(input)).toEqual(value);
  });

  test.each([
    ["[", "EOF while parsing a list at line 1 column 1"],
    ["{", "EOF while parsing an object at line 1 column 1"],
    ["", "EOF while parsing a value at line 1 column 0"],
    ['"a', "EOF while parsing a string at line 1 column 2"],
    ["[1 2]", "expected `,` or `]` at line 1 column 4"],
    ["[1,]", "trailing comma at line 1 column 4"],
    ["[\n1,\n  x]", "expected value at line 3 column 3"],
    ["{1:2}", "key must be a string at line 1 column 2"],
    ['{"a" 1}', "expected `:` at line 1 column 6"],
    ["1 2", "trailing characters at line 1 column 3"],
    ["01", "invalid number at line 1 column 2"],
    ["nul", "EOF while parsing a value at line 1 column 3"],
    ['"\\x"', "invalid escape at line 1 column 3"],
    [
      '"é\u0001"',
      "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 4",
    ],
  ])("%j: %s", (input, message) => {
    expect(() => parseJson(input)).toThrow(new JsonError("", 0, 0).constructor as never);
    expect(attempt(() => parseJson(input)).error).toHaveProperty("message", message);
  });

  test("has a limit to nesting, whatever the stack is", () => {
    const deep = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(() => parseJson(deep(jsonDepthMax - 1))).not.toThrow();
    expect(() => parseJson(deep(jsonDepthMax))).toThrow("recursion limit exceeded");
    expect(() => parseJson("[".repeat(10_000_000))).toThrow("recursion limit exceeded");
  });

  test("keeps keys that objects have of their own", () => {
    expect(parseJson('{"__proto__":1,"__proto__":2}')).toEqual(new Map([["__proto__", 2]]));
  });
});

describe("the writer", () => {
  test("writes reals that read back the same, always as reals", () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        const text = realToJson(value);
        expect(text).toMatch(/[.e]/);
        expect(Object.is(Number(text), value)).toBe(true);
        expect(Object.is(JSON.parse(text), value)).toBe(true);
      }),
      { examples: [[-0], [5e-324], [Number.MAX_VALUE], [1e16], [1e15], [0.1], [1e-5], [9.99e-6]] },
    );
  });

  test("writes strings as JSON.stringify does", () => {
    fc.assert(
      fc.property(text, (value) => expect(sqlValueToJson(value)).toBe(JSON.stringify(value))),
    );
  });

  test("writes a BLOB as its bytes, an infinity as null, and refuses TEXT that isn't UTF-8", () => {
    expect(sqlValuesToJson([new Uint8Array([0, 255]), new Uint8Array(0)])).toBe("[[0,255],[]]");
    expect(sqlValueToJson(new Real(Number.POSITIVE_INFINITY))).toBe("null");
    expect(() => sqlValueToJson(new RawText(new Uint8Array([0xff])))).toThrow(NotUtf8Error);
  });

  test("writes durations in seconds to the nanosecond", () => {
    expect([0.027_000_4, 1234.5, 0].map(secondsToJson)).toEqual(["0.000027", "1.2345", "0.0"]);
  });
});

function attempt(run: () => unknown): { value?: unknown; error?: unknown } {
  try {
    return { value: run() };
  } catch (error) {
    return { error };
  }
}

function withoutBytes(json: JsonValue): unknown {
  if (json instanceof Uint8Array) return [...json];
  return Array.isArray(json) ? json.map(withoutBytes) : json;
}

function toPlain(json: JsonValue): unknown {
  if (json instanceof Real) return json.real;
  if (json instanceof Map) {
    const entries = [...json].map(([key, value]) => [key, toPlain(value)]);
    return Object.fromEntries(entries);
  }
  if (Array.isArray(json)) return json.map(toPlain);
  return typeof json === "bigint" ? Number(json) : json;
}

test("a duration is the same text as the same REAL", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2_000_000_000 }),
      fc.integer({ min: 0, max: 9 }),
      (n, shift) => {
        const ns = Math.floor(n / 10 ** shift);
        expect(secondsToJson(ns / 1e6)).toBe(realToJson(ns / 1e9));
      },
    ),
  );
});
