import { expect, test } from "bun:test";
import fc from "fast-check";
import { tokenize } from "./sql-token.ts";

/** The same in one regular expression, which is plainer and fails on long texts. */
const whole =
  /([ \t\n\f\r][ \t\n\v\f\r]*|\ufeff|--[^\n]*|\/\*(?:[^*]|\*(?!\/))*(?:\*\/|$))|([xX]'[0-9a-fA-F]*')|('(?:[^']|'')*')|("(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])|(0[xX][0-9a-fA-F_]+|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?)|([A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*)|(<>|<=|>=|<<|>>|==|!=|\|\||->>|->|[\s\S])/y;

function tokens(sql: string): { kind: string; text: string; at: number; line: number }[] {
  const kinds = ["blank", "blob", "string", "quoted", "number", "word", "symbol"];
  const all: { kind: string; text: string; at: number; line: number }[] = [];
  for (let at = 0; at < sql.length; ) {
    whole.lastIndex = at;
    const match = whole.exec(sql) as RegExpExecArray;
    const kind = kinds[match.slice(1).findIndex((part) => part !== undefined)] as string;
    const line = sql.slice(0, at).split("\n").length;
    all.push({ kind, text: match[0], at, line });
    at += match[0].length;
  }
  return all.filter(({ kind }) => kind !== "blank");
}

test("tokens are those of the regular expression", () => {
  const piece = fc.constantFrom(
    ...["'", "''", '"', "`", "[", "]", "/*", "*/", "*", "/", "--", "\n", " ", "x'", "ab", "é"],
    ...["1", ".5", "e+", "0x", "_", "||", "->", ">", "=", ";", "\u0000", "\v", "\ufeff"],
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const sql = pieces.join("");
      const cut = tokenize(sql).map(({ kind, text, at, line }) => ({ kind, text, at, line }));
      expect(cut as unknown[]).toEqual(tokens(sql));
    }),
    { numRuns: 2000 },
  );
});

test("blanks are those of SQLite: a byte order mark, and what follows a blank", () => {
  const words = (sql: string) => tokenize(sql).map(({ text }) => text);
  for (const blank of ["\ufeff", "\ufeff\ufeff", "\t\v", "\v\f\r\n"]) {
    expect(words(`SELECT 1 ${blank}AS ${blank}x`)).toEqual(["SELECT", "1", "AS", "x"]);
  }
  // Behind a name it is a part of that.
  expect(words("a\ufeff")).toEqual(["a\ufeff"]);
});

test("literals, names and comments may have megabytes", () => {
  const long = "x".repeat(4_000_000);
  const quotes = "''".repeat(2_000_000);
  const sql = `SELECT '${long}', "${long}", '${quotes}' /* ${long} ${"*".repeat(1_000_000)} */ FROM t`;
  expect(tokenize(sql).map(({ kind }) => kind)).toEqual([
    "word",
    "string",
    "symbol",
    "quoted",
    "symbol",
    "string",
    "word",
    "word",
  ] as const);
});

// A client's text is cut into tokens before SQLite looks at it: quadratic, one of 250,000 characters took minutes.
test("brackets, quotes and comments that nothing closes take no longer than others", () => {
  for (const piece of ["[", "['\"`", "[/*/", "--[\n[", "x'[", "[[]"]) {
    const sql = piece.repeat(250_000 / piece.length);
    const beganMs = performance.now();
    const all = tokenize(`SELECT ${sql}`);
    expect(performance.now() - beganMs).toBeLessThan(3000);
    expect(all[0]?.text).toBe("SELECT");
  }
  expect(tokenize("[[a] [").map(({ kind, text }) => [kind, text])).toEqual([
    ["quoted", "[[a]"],
    ["symbol", "["],
  ]);
});
