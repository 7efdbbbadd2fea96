import { expect, test } from "bun:test";
import { SqliteNode, schemaOf } from "../../test/generators/sqlite-store.ts";
import { createDigester } from "../../test/model/history.ts";
import { encodeChangeset } from "../change/changeset.ts";
import { siteOfHex } from "../clock/stamp.ts";
import type { PeerId, StoreReply } from "../node/border.ts";
import { encodeKey } from "../row/key.ts";
import type { RowState } from "../row/row-state.ts";
import type { SqlValue } from "../row/value.ts";
import { Replica } from "./replica.ts";

const site = siteOfHex("aa".repeat(16));
const peer = "bb".repeat(32) as PeerId;
const startMs = 1_700_000_000_000;
const digester = createDigester();
const rowCount = 1500;
/** Of those that the large commit writes: the commonest, and all that nobody decides on before. */
const kinds = ["new", "update", "delete", "life", "odd"] as const;

/** Row `n` of the large commit, as it was before it or as it makes it; undefined: it isn't there. */
function row(n: number, isAfter: boolean): RowState | undefined {
  const kind = kinds[n % kinds.length];
  if (!isAfter && kind === "new") return undefined;
  const bornMs = startMs + (isAfter && kind === "life" ? 1000 : 0);
  const stamp = { ms: startMs + (isAfter ? 1000 : 0), count: 0, site };
  const isDeleted = isAfter ? kind === "delete" : kind === "life";
  const born = { ms: isDeleted ? stamp.ms : bornMs, count: 0, site };
  const value: SqlValue = isAfter && kind === "odd" ? new Uint8Array([n & 255]) : `${kind} ${n}`;
  return {
    table: "t",
    key: encodeKey([`k${Math.imul(n, 2_654_435_761) >>> 0}`]) as Uint8Array,
    clock: { ...born, cl: isDeleted ? 2 : isAfter && kind === "life" ? 3 : 1 },
    cells: isDeleted
      ? []
      : [
          { column: "a", stamp, value },
          { column: "n", stamp, value: isAfter ? 2 : 1 },
        ],
  };
}

const rows = (isAfter: boolean): RowState[] =>
  Array.from({ length: rowCount }, (_, n) => row(n, isAfter)).filter((one) => one !== undefined);

// Every state that a reader could see is looked at: the commit is there as a whole or not at all.
test.each([1, 15])(
  "an urgent change every %d slices beside a commit of thousands of rows is seen at once, and the commit as a whole",
  (everySlices) => {
    const schema = schemaOf(`
      CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, a TEXT, n INTEGER NOT NULL DEFAULT 0);
      CREATE INDEX t_n ON t (n);
      CREATE TABLE urgent (k INTEGER PRIMARY KEY, n INTEGER);
    `);
    using node = new SqliteNode(schema, { site: 2, digester, nowMs: startMs + 2000 });
    using model = new SqliteNode(schema, { site: 2, digester, nowMs: startMs + 2000 });
    for (const { store } of [node, model]) store.merge(rows(false));
    model.store.merge(rows(true));
    const replies: StoreReply[] = [];
    let nowMs = startMs + 2000;
    const replica = new Replica({
      store: node.store,
      clock: node.clock,
      digester,
      schema: [],
      options: { sliceRows: 64, preparedBytesMin: 0 },
    });
    replica.start(nowMs, replies);
    for (; !replica.isBuilt; nowMs += 10) replica.tick(nowMs, replies);
    let ticket = 0;
    const apply = (lane: 0 | 2, changed: readonly RowState[], ms: number): number => {
      const body = encodeChangeset({ stamp: { ms, count: 0, site }, lane, rows: changed });
      const request = { kind: "apply", what: "changesets", lane, peer, bodies: [body] } as const;
      replica.handle({ ...request, ticket: ++ticket }, nowMs, replies);
      return ticket;
    };
    const isAnswered = (of: number) =>
      replies.some((reply) => reply.kind === "applied" && reply.ticket === of);
    const count = (sql: string) => Number(node.db.all(sql)[0]?.[0]);
    const before = count("SELECT sum(n) FROM t");
    const after = Number(model.db.all("SELECT sum(n) FROM t")[0]?.[0]);
    const urgent = (n: number): RowState[] => {
      const stamp = { ms: nowMs, count: 0, site };
      // Now and then one of the commit's own rows, which it must not bring back.
      const key = encodeKey([n]) as Uint8Array;
      const cells = [{ column: "n", stamp, value: n }];
      return [{ table: "urgent", key, clock: { ...stamp, cl: 1 }, cells }];
    };
    const newer: RowState[] = [];
    const large = apply(2, rows(true), startMs + 1000);
    let [sent, waited, slices] = [0, 0, 0];
    for (; !isAnswered(large); slices++) {
      expect(slices).toBeLessThan(2000);
      nowMs++;
      replica.tick(nowMs, replies);
      if (!replica.isOpen) expect([before, after]).toContain(count("SELECT sum(n) FROM t"));
      if (slices % everySlices > 0) continue;
      apply(0, urgent(++sent), nowMs);
      if (sent % 4 === 0 && !replica.isOpen) {
        const stamp = { ms: nowMs, count: 0, site };
        const { cells: _, ...one } = row(sent * 5 + 1, true) as RowState;
        const changed = { ...one, cells: [{ column: "a", stamp, value: `newer ${sent}` }] };
        newer.push(changed);
        apply(0, [changed], nowMs);
      }
      if (replica.isOpen) waited++;
      else expect(count("SELECT count(*) FROM urgent")).toBe(sent);
    }
    for (; replica.pollTimeout() <= nowMs; slices++) {
      expect(slices).toBeLessThan(3000);
      replica.tick(nowMs, replies);
    }
    expect(waited).toBeLessThan(rowCount / 64 / everySlices + 3);
    expect(count("SELECT count(*) FROM urgent")).toBe(sent);
    model.store.merge(newer);
    const all = "SELECT k, a, n FROM t ORDER BY k";
    expect(node.db.all(all)).toEqual(model.db.all(all));
    expect(node.strays()).toEqual([]);
    // The index has taken in all of it, in order.
    const live = () => {
      const told: StoreReply[] = [];
      replica.announce(told);
      const slot = told.find((reply) => reply.kind === "slot");
      return slot?.kind === "slot" ? slot.live : undefined;
    };
    const known = live();
    replica.start(nowMs, replies);
    for (; !replica.isBuilt; nowMs += 10) replica.tick(nowMs, replies);
    expect(known).toEqual(live());
  },
  120_000,
);

test("a really large urgent changeset is applied in slices, and a small one isn't kept waiting by it", () => {
  const schema = schemaOf("CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)");
  using node = new SqliteNode(schema, { site: 2, digester, nowMs: startMs });
  const { store, clock } = node;
  const options = { sliceRows: 64 };
  const replica = new Replica({ store, clock, digester, schema: [], options });
  const replies: StoreReply[] = [];
  let nowMs = startMs;
  replica.start(nowMs, replies);
  for (; !replica.isBuilt; nowMs += 10) replica.tick(nowMs, replies);
  const apply = (ticket: number, keys: readonly number[], value: string): void => {
    const stamp = { ms: startMs, count: ticket, site };
    const changed = keys.map((key) => ({
      table: "t",
      key: encodeKey([key]) as Uint8Array,
      clock: { ...stamp, cl: 1 },
      cells: [{ column: "a", stamp, value }],
    }));
    const body = encodeChangeset({ stamp, lane: 0, rows: changed });
    const request = { kind: "apply", what: "changesets", lane: 0, peer, bodies: [body] } as const;
    replica.handle({ ...request, ticket }, nowMs, replies);
  };
  const answered = () => replies.flatMap((reply) => (reply.kind === "applied" ? reply.ticket : []));
  const count = () => Number(node.db.all("SELECT count(*) FROM t")[0]?.[0]);
  const large = Array.from({ length: 1200 }, (_, i) => i);
  apply(1, large, "x".repeat(1000));
  for (let ticket = 2; ticket < 5; ticket++) {
    apply(ticket, [10_000 + ticket], "down");
    expect(answered()).toEqual([2, 3, 4].slice(0, ticket - 1));
    expect(count()).toBe(ticket - 1);
    replica.tick(++nowMs, replies);
  }
  for (let slices = 0; !answered().includes(1); slices++) {
    expect(slices).toBeLessThan(1000);
    replica.tick(++nowMs, replies);
  }
  expect(count()).toBe(1203);
});

test("a really large urgent changeset waits for one slice of bulk at most, however much follows, and bulk goes on beside it", () => {
  const schema = schemaOf("CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)");
  using node = new SqliteNode(schema, { site: 2, digester, nowMs: startMs });
  const { store, clock } = node;
  const replica = new Replica({ store, clock, digester, schema: [], options: { sliceRows: 64 } });
  const replies: StoreReply[] = [];
  let nowMs = startMs;
  replica.start(nowMs, replies);
  for (; !replica.isBuilt; nowMs += 10) replica.tick(nowMs, replies);
  let ticket = 0;
  const apply = (lane: 0 | 2, rowCount: number, value: string): number => {
    const stamp = { ms: startMs, count: ++ticket, site };
    const changed = Array.from({ length: rowCount }, (_, i) => ({
      table: "t",
      key: encodeKey([ticket * 10_000 + i]) as Uint8Array,
      clock: { ...stamp, cl: 1 },
      cells: [{ column: "a", stamp, value }],
    }));
    const bodies = [encodeChangeset({ stamp, lane, rows: changed })];
    replica.handle(
      { kind: "apply", what: "changesets", lane, peer, bodies, ticket },
      nowMs,
      replies,
    );
    return ticket;
  };
  const isAnswered = (of: number) =>
    replies.some((reply) => reply.kind === "applied" && reply.ticket === of);
  // The net side has credit for one slice of bulk: the next is there as soon as one is answered.
  let bulk = apply(2, 200, "bulk");
  const large = apply(0, 1200, "x".repeat(1000));
  const isFirst = !isAnswered(bulk);
  let [during, slices] = [0, 0];
  for (; !isAnswered(large); slices++) {
    expect(slices).toBeLessThan(2000);
    replica.tick(++nowMs, replies);
    if (!isAnswered(bulk)) continue;
    bulk = apply(2, 200, "bulk");
    during++;
  }
  expect([isFirst, during]).toEqual([true, 1]);
  for (; !isAnswered(bulk); slices++) {
    expect(slices).toBeLessThan(2000);
    replica.tick(++nowMs, replies);
  }
});
