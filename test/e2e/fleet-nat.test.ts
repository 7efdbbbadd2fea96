/**
 * Two nodes behind NATs find each other and punch holes; see `nat-world.ts`.
 *
 * @module
 */

import { expect } from "bun:test";
import { testIf } from "../real.ts";
import { missingNat, type NatResult, natWorld } from "./nat-world.ts";

testIf(
  missingNat(),
  "two nodes behind NATs of their own find each other and pass rows through punched holes",
  async () => {
    const world = Bun.spawn(natWorld(), { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    const text = await new Response(world.stdout).text();
    expect(await world.exited).toBe(0);
    const { connectedMs, ...result } = JSON.parse(text) as NatResult;
    expect(result).toEqual({
      isAnswered: { open: true, behindNat: false },
      paths: ["punched", "punched"],
      addresses: ["203.0.113.102", "203.0.113.101"],
      founds: ["inbound", "topic"],
      rows: 20,
    });
    console.log(
      `two nodes behind NATs: connected ${connectedMs} ms after their processes were started`,
    );
  },
  120_000,
);
