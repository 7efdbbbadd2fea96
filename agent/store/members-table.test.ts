import { expect, test } from "bun:test";
import { siteOfHex } from "../../core/clock/stamp.ts";
import type { MemberRow, PeerId } from "../../core/node/border.ts";
import { siteToBytes } from "../../core/row/digest.ts";
import { membersTable, nodeSitesTable } from "../../core/store/file/file-header.ts";
import { type Database, openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { MembersTable, nodeSitesMax } from "./members-table.ts";

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

test("who is only SUSPECT is there, too: a node isn't alone because a stream broke for a second", () => {
  const ran = { all: () => [], run: () => undefined } as unknown as Database;
  const table = new MembersTable({
    ...{ writer: ran, publicKey: "f".repeat(64), site: siteOfHex("f".repeat(32)) },
    writeLocalTable: (_table, _keys, write) => write(),
  });
  table.write([row("f")]);
  expect(table.hasOthers()).toBeFalse();
  for (const state of ["ALIVE", "SUSPECT"] as const) {
    table.write([{ ...row("b"), state }]);
    expect(table.hasOthers()).toBeTrue();
  }
  table.write([{ ...row("b"), state: "DOWN" }]);
  expect(table.hasOthers()).toBeFalse();
});

test("of too many sites of nodes those go that have no rows here, and are nobody's now", () => {
  const writer = openDatabase("members.db", { vfs: new MemoryVfs() });
  writer.run(membersTable);
  writer.run(nodeSitesTable);
  writer.run("CREATE TABLE patina_site (ord INTEGER PRIMARY KEY, site BLOB NOT NULL UNIQUE)");
  const site = (n: number) => siteOfHex(n.toString(16).padStart(32, "0"));
  writer.run("INSERT INTO patina_site (ord, site) VALUES (0, ?)", siteToBytes(site(7)));
  const table = new MembersTable({
    ...{ writer, publicKey: "f".repeat(64), site: site(0xff_ffff) },
    writeLocalTable: (_table, _keys, write) => write(),
  });
  table.writeSelf({ name: "a", region: "r", zone: "z" }, 1, 1);
  table.write([{ ...row("c"), site: site(0xcc_cccc) }]);
  const count = () => writer.all("SELECT count(*) FROM patina_node_site")[0]?.[0] as number;
  // They say that they are others, again and again.
  const sites = nodeSitesMax + 1004;
  for (let first = 0; first < sites; first += 100) {
    const rows = Array.from({ length: 100 }, (_, i) => {
      return { ...row("b"), node: `b${i}`, site: site(first + i) };
    });
    table.write(rows);
    expect(count()).toBeLessThan(nodeSitesMax + 400);
  }
  expect(count()).toBeLessThan(1500);
  const has = (n: number) =>
    writer.all("SELECT node FROM patina_node_site WHERE site = ?", siteToBytes(site(n)))[0]?.[0];
  // The last of one of them, one that has written, the other's, and this node's.
  expect([sites - 97, 7, 0xcc_cccc, 0xff_ffff].map(has)).toEqual(["b3", "b7", "c", "a"]);
  writer.close();
});
