import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { PeerId } from "../../core/node/border.ts";
import { DataDirectory } from "./data-directory.ts";
import { Neighbours } from "./neighbours.ts";

const peer = (number: number) => number.toString(16).padStart(64, "0") as PeerId;

test("neighbours are remembered over a start, the latest first, and not too many", async () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-neighbours-"));
  try {
    const neighbours = new Neighbours(new DataDirectory(folder));
    expect(neighbours.list).toEqual([]);
    for (let i = 0; i < 20; i++) neighbours.met(peer(i), `127.0.0.1:${7000 + i}`);
    // Met again, elsewhere; and one whose address is gone already.
    neighbours.met(peer(10), "127.0.0.1:9000");
    neighbours.met(peer(30), "");
    await neighbours.written();

    const { list } = new Neighbours(new DataDirectory(folder));
    expect(list).toHaveLength(12);
    expect(list.slice(0, 3)).toEqual([
      `${peer(10)}@127.0.0.1:9000`,
      `${peer(19)}@127.0.0.1:7019`,
      `${peer(18)}@127.0.0.1:7018`,
    ]);

    // A file that was cut off is no reason not to start.
    writeFileSync(join(folder, "neighbours"), "00ff\n\nabc@\n");
    expect(new Neighbours(new DataDirectory(folder)).list).toEqual(["abc@"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
