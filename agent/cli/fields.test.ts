import { expect, test } from "bun:test";
import { formatFields } from "./fields.ts";
import { formatTable } from "./table.ts";

test("what others wrote can't move the cursor of who looks at it", () => {
  const evil = "\u001b[2Jx\ny";
  const shown = "\\x1b[2Jx\\ny";
  expect(formatFields({ query: evil, tables: [evil, "t"], none: [], nothing: null })).toBe(
    [`query    ${shown}`, `tables   ${shown}, t`, "none     none", "nothing  none"].join("\n"),
  );
  expect(formatTable([evil], [[evil]])).toBe(`${shown}\n${"─".repeat(shown.length)}\n${shown}`);
});
