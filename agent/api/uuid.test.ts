import { expect, test } from "bun:test";
import { parseUuid } from "./uuid.ts";

const id = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

/** The id; or why it is none. */
async function parse(text: string): Promise<string> {
  const parsed = parseUuid(text, "id");
  if (parsed.kind === "parsed") return parsed.value;
  expect(parsed.response.status).toBe(400);
  const message = Buffer.from(parsed.response.body as Uint8Array).toString();
  const before = `Invalid URL: Cannot parse \`id\` with value \`${text}\`: UUID parsing failed: `;
  expect(message).toStartWith(before);
  return message.slice(before.length);
}

test("an id is taken in each form that a refusal names", async () => {
  const simple = id.replaceAll("-", "");
  for (const text of [id, id.toUpperCase(), simple, simple.toUpperCase(), `urn:uuid:${id}`]) {
    expect([text, await parse(text)]).toEqual([text, id]);
  }
});

test("what is none is refused, with what is wrong and where", async () => {
  const character = "invalid character: expected an optional prefix of `urn:uuid:` followed by";
  const length = "invalid length: expected length 32 for simple format, found";
  expect(await parse("x")).toBe(`${character} [0-9a-fA-F-], found \`x\` at 1`);
  expect(await parse(`urn:uuid:${id.slice(1)}z`)).toBe(
    `${character} [0-9a-fA-F-], found \`z\` at 45`,
  );
  expect(await parse(`URN:uuid:${id}`)).toContain("found `U` at 1");
  expect(await parse("0a1b")).toBe(`${length} 4`);
  expect(await parse(`${id}-`)).toBe(`${length} 37`);
  expect(await parse("urn:uuid:")).toBe(`${length} 9`);
});
