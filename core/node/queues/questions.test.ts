import { expect, test } from "bun:test";
import type { PeerId, Ticket } from "../border.ts";
import { Questions } from "./questions.ts";

test("what is answered at once doesn't wait behind a scan, and one of each is open", () => {
  const questions = new Questions();
  const answered: string[] = [];
  const recent = { kind: "recent", sinceMs: 0, ownSinceMs: 0, rowsMax: 1 } as const;
  const rows = { kind: "range-rows", level: 0, nodes: [0] } as const;
  const list = { kind: "list", live: true, cut: 0, level: 0, nodes: [0] } as const;
  questions.add(rows, ({ kind }) => answered.push(`range ${kind}`));
  questions.add({ ...list, recentOnly: false }, ({ kind }) => answered.push(`list ${kind}`));
  questions.add({ ...list, recentOnly: true }, ({ kind }) => answered.push(`short list ${kind}`));
  questions.add(recent, ({ kind }) => answered.push(`recent ${kind}`));
  const next = (ticket: number, atMs: number) => questions.next(ticket as Ticket, atMs)?.kind;
  expect([next(1, 10), next(2, 20), next(3, 30)]).toEqual(["list", "range-rows", undefined]);
  expect(questions.openSinceMs).toBe(10);
  questions.reply({ kind: "listed", ticket: 1 as Ticket, entries: [] });
  // A scan that takes long doesn't make the store a stuck one.
  expect(questions.openSinceMs).toBeUndefined();
  expect([next(4, 40), next(5, 50)]).toEqual(["recent", undefined]);
  const block = { kind: "rows", ticket: 2 as Ticket, block: new Uint8Array(0) } as const;
  questions.reply({ ...block, last: false });
  expect(next(6, 60)).toBeUndefined();
  questions.reply({ ...block, last: true });
  expect(next(7, 70)).toBe("list");
  expect(answered).toEqual(["short list listed", "range rows", "range rows"]);
});

test("a peer's questions count until their last answer, so that nobody asks without bound", () => {
  const questions = new Questions();
  const peer = "p1" as PeerId;
  const rows = { kind: "range-rows", level: 0, nodes: [0] } as const;
  questions.add(rows, () => {}, peer);
  questions.add(rows, () => {}, peer);
  questions.add(rows, () => {}, "p2" as PeerId);
  expect(questions.waitingFor(peer)).toBe(2);
  questions.next(1 as Ticket, 0);
  expect(questions.waitingFor(peer)).toBe(2);
  const block = { kind: "rows", ticket: 1 as Ticket, block: new Uint8Array(0) } as const;
  questions.reply({ ...block, last: false });
  expect(questions.waitingFor(peer)).toBe(2);
  questions.reply({ ...block, last: true });
  expect(questions.waitingFor(peer)).toBe(1);
});

test("rows that the store has to scan for are asked for again among scans, and others don't wait for them", () => {
  const questions = new Questions();
  const answered: string[] = [];
  questions.add({ kind: "rows", ids: [] }, ({ kind }) => answered.push(`rows ${kind}`));
  questions.add({ kind: "missing", entries: [] }, ({ kind }) => answered.push(kind));
  const next = (ticket: number) => questions.next(ticket as Ticket, 0);
  expect(next(1)).toEqual({ kind: "rows", ids: [], atOnce: true, ticket: 1 as Ticket });
  questions.reply({ kind: "unavailable", ticket: 1 as Ticket, why: "scan" });
  expect(next(2)?.kind).toBe("missing");
  expect(next(3)).toEqual({ kind: "rows", ids: [], ticket: 3 as Ticket });
  questions.reply({ kind: "missing", ticket: 2 as Ticket, ids: [] });
  questions.reply({ kind: "rows", ticket: 3 as Ticket, block: new Uint8Array(0), last: true });
  expect(answered).toEqual(["missing", "rows rows"]);
});

test("that there is no answer now is told to whoever asked", () => {
  const questions = new Questions();
  const answered: string[] = [];
  const told = (what: string) => (answer: { readonly kind: string; readonly why?: string }) =>
    answered.push(`${what}: ${answer.why ?? answer.kind}`);
  questions.add({ kind: "missing", entries: [] }, told("missing"));
  questions.add({ kind: "range-rows", level: 0, nodes: [0] }, told("range"));
  questions.add({ kind: "rows", ids: [] }, told("rows"));
  expect(questions.waiting).toBe(3);
  for (const ticket of [1, 2] as Ticket[]) questions.next(ticket, 0);
  expect(questions.waiting).toBe(1);
  questions.reply({ kind: "unavailable", ticket: 1 as Ticket, why: "starting" });
  questions.reply({ kind: "unavailable", ticket: 2 as Ticket, why: "busy" });
  expect(questions.next(3 as Ticket, 0)?.kind).toBe("rows");
  expect(answered).toEqual(["missing: starting", "range: busy"]);
});
