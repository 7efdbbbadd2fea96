import { expect, test } from "bun:test";
import { siteOfHex } from "../../core/clock/stamp.ts";
import type { MemberRow, PeerId } from "../../core/node/border.ts";
import type { Database } from "../../wasm/database.ts";
import { MembersTable } from "./members-table.ts";

const row = (node: string): MemberRow => ({
  ...{ node, key: node.repeat(64) as PeerId, region: "r", zone: "z", state: "ALIVE" },
  ...{ incarnation: 1, sinceMs: 1, storeLag: "ok" },
});

test("what a full disk keeps from the table is written once there is room, as it is then", () => {
  let isFull = true;
  const ran: unknown[] = [];
  const writer = {
    all: () => [],
    run: (sql: string, ...values: unknown[]) => ran.push([sql.split(" ")[0], values[0]]),
  } as unknown as Database;
  const table = new MembersTable({
    ...{ writer, publicKey: "f".repeat(64), site: siteOfHex("f".repeat(32)) },
    writeLocalTable: (_table, _keys, write) => {
      if (isFull) throw new Error("full");
      write();
    },
  });
  table.write([row("b"), row("c")]);
  table.write([{ ...row("c"), state: "DOWN" }], [row("b").key]);
  expect([table.isBehind, table.countAlive(), ran]).toEqual([true, 0, []]);
  isFull = false;
  expect(table.writeWaiting()).toBeUndefined();
  // Who has parted meanwhile isn't put back.
  expect(ran).toEqual([
    ["DELETE", row("b").key],
    ["INSERT", "c"],
  ]);
  expect([table.isBehind, [...table.nodeByKey().values()]]).toEqual([false, ["c"]]);
});
