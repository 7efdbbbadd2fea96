import { expect, test } from "bun:test";
import { SqliteNode } from "../../test/generators/sqlite-store.ts";
import { createDigester } from "../../test/model/history.ts";
import { ByteWriter } from "../bytes/writer.ts";
import type { StoreReply } from "../node/border.ts";
import { RawText, Real, type SqlValue, writeValue } from "../row/value.ts";
import { Replica } from "./replica.ts";
import { decodeCursor, encodeCursor } from "./stream-cursor.ts";

function bytesOf(life: number, part: number, after: SqlValue): Uint8Array {
  const writer = new ByteWriter();
  writer.varint(life);
  writer.varint(part);
  writeValue(writer, after);
  return writer.finish();
}

test("a cursor comes back as the position it was made of, in its life only", () => {
  for (const after of [null, 5, -(2n ** 63n), new Uint8Array([1, 2])]) {
    const position = { part: 3, after };
    expect(encodeCursor(position, 7)).toEqual(bytesOf(7, 3, after));
    expect(decodeCursor(encodeCursor(position, 7), 7)).toEqual(position);
    expect(decodeCursor(encodeCursor(position, 7), 8)).toBeUndefined();
  }
});

test("bytes that are no cursor are none, nor is a place that no store has", () => {
  const cursor = bytesOf(7, 3, 5);
  expect(decodeCursor(cursor, 7)).toEqual({ part: 3, after: 5 });
  expect(decodeCursor(new Uint8Array([...cursor, 0]), 7)).toBeUndefined();
  expect(decodeCursor(cursor.subarray(0, -1), 7)).toBeUndefined();
  for (const after of ["5", new Real(5), new RawText(new Uint8Array([0xff]))]) {
    expect(decodeCursor(bytesOf(7, 3, after), 7)).toBeUndefined();
  }
});

test("no cursor that a member makes up is held against the store", () => {
  using node = new SqliteNode(
    `CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v);
     CREATE TABLE w (k TEXT PRIMARY KEY NOT NULL, v) WITHOUT ROWID`,
  );
  node.write("INSERT INTO t VALUES ('a', 1), ('b', 2)", "INSERT INTO w VALUES ('a', 1)");
  node.write("DELETE FROM t WHERE k = 'b'");
  const { store, clock } = node;
  const digester = createDigester();
  const replica = new Replica({ store, clock, digester, schema: store.schema.shapes });
  replica.start(node.nowMs, []);
  while (replica.status().starting) {
    node.nowMs = Math.max(node.nowMs, replica.pollTimeout());
    replica.tick(node.nowMs, []);
  }
  const afters: SqlValue[] = [null, 5, 2n ** 60n, new Real(0.5), "5", "1t", new Uint8Array([9])];
  for (const after of [...afters, new RawText(new Uint8Array([0x35, 0xff]))]) {
    // The two tables, `patina_absent`, and none.
    for (const part of [0, 1, 2, 3, 2 ** 52]) {
      const replies: StoreReply[] = [];
      const cursor = bytesOf(0, part, after);
      const question = { kind: "stream-rows", ticket: 1, level: 0, nodes: [0], cursor } as const;
      replica.handle(question, node.nowMs, replies);
      expect(replies.map(({ kind }) => kind)).toEqual([
        expect.stringMatching(/^(streamed|unavailable)$/),
      ]);
      expect([part, after, replica.status().storeError]).toEqual([part, after, undefined]);
    }
  }
});
