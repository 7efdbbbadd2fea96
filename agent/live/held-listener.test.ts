import { expect, test } from "bun:test";
import type { MergedRow } from "../../core/row-store.ts";
import type { StreamEvent } from "../api/store-service.ts";
import { HeldListener } from "./held-listener.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const lines = (text: string): StreamEvent => ({
  kind: "lines",
  bytes: bytes(text),
  isSnapshot: false,
});

function open() {
  const heard: string[] = [];
  let told: readonly MergedRow[] | undefined;
  const name = (event: StreamEvent) =>
    event.kind === "end" ? `end${event.isCut ? ", cut" : ""}` : Buffer.from(event.bytes).toString();
  const held = new HeldListener({
    listener: (event) => heard.push(name(event)),
    toldRows: () => told,
    tell: (_listener, event, rows) =>
      heard.push(`${name(event)}, ${rows?.length ?? "unknown"} rows`),
  });
  const take = (event: StreamEvent, rows?: readonly MergedRow[]) => {
    told = rows;
    held.take(event);
  };
  return { heard, held, take };
}

test("what happens while pieces are handed over comes after the last of them, with the rows of its commit", async () => {
  const { heard, held, take } = open();
  take(lines("first"), []);
  const pieces = ["1", "2", "3"].map(bytes);
  const handing = held.hand(pieces.values(), () => true);
  take(lines("second"));
  expect(heard).toEqual(["1"]);
  await handing;
  expect(heard).toEqual(["1", "2", "3", "first, 0 rows", "second, unknown rows"]);
  take(lines("third"));
  take({ kind: "end", isCut: false });
  expect(heard.slice(5)).toEqual(["third", "end"]);
});

test("a stream that is cut ends at once, and gets no more", async () => {
  const { heard, held, take } = open();
  const handing = held.hand(["1", "2"].map(bytes).values(), () => true);
  take(lines("first"));
  take({ kind: "end", isCut: true });
  await handing;
  expect(heard).toEqual(["1", "end, cut"]);
});

test("an end with its reason comes after the rows, and who is gone gets no more of them", async () => {
  const { heard, held, take } = open();
  take(lines("why"));
  take({ kind: "end", isCut: false });
  let wanted = 2;
  await held.hand(["1", "2", "3"].map(bytes).values(), () => wanted-- > 0);
  expect(heard).toEqual(["1", "2"]);
  const other = open();
  other.take(lines("why"));
  other.take({ kind: "end", isCut: false });
  await other.held.hand(["1"].map(bytes).values(), () => true);
  expect(other.heard).toEqual(["1", "why, unknown rows", "end, unknown rows"]);
});
