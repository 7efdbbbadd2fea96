import { expect, test } from "bun:test";
import type { PeerId } from "../../core/node/border.ts";
import { NodeMachine } from "../../core/node/node-machine.ts";
import { sha256 } from "../host/sha256.ts";
import { warmUpNet } from "./net-warm-up.ts";

const createMachine = (name: string, key: PeerId) =>
  new NodeMachine({
    key,
    name,
    region: "",
    zone: "",
    incarnation: 1,
    random: Math.random,
    hash: (bytes) => Bun.hash(bytes) as bigint,
    sha256,
  });

test("the net thread's warm-up does what it is meant to warm: every commit arrives at the other's store", async () => {
  expect(await warmUpNet(createMachine, () => false, 20)).toBe(40);
});

test("it ends when the thread does", async () => {
  expect(await warmUpNet(createMachine, () => true)).toBe(0);
});
