import { expect, test } from "bun:test";
import { once } from "node:events";
import type { NetworkInterface } from "./interfaces.ts";
import { listInterfaces, NetworkInterfaces } from "./interfaces.ts";

const LOOPBACK: NetworkInterface = { name: "lo", host: "127.0.0.1", family: 4, internal: true };
const WIRE: NetworkInterface = { name: "eth0", host: "10.0.0.2", family: 4, internal: false };

test("loopback is listed, and the list is sorted", () => {
  const list = listInterfaces();
  expect(list.some((one) => one.host === "127.0.0.1" && one.internal)).toBe(true);
  expect(listInterfaces()).toEqual(list);
});

test("a change is told once, with the new list", async () => {
  let now = [LOOPBACK];
  const watcher = new NetworkInterfaces(() => now, 1).watch();
  const changes: NetworkInterface[][] = [];
  watcher.on("change", (list: NetworkInterface[]) => changes.push(list));
  now = [LOOPBACK, WIRE];
  await once(watcher, "change");
  now = [LOOPBACK];
  await once(watcher, "change");
  expect(changes).toEqual([[LOOPBACK, WIRE], [LOOPBACK]]);
  expect([...watcher]).toEqual([LOOPBACK]);
  await watcher.destroy();
});

test("one that is destroyed watches no more", async () => {
  const watcher = new NetworkInterfaces(() => [LOOPBACK], 1);
  await watcher.destroy();
  await watcher.destroy();
  expect(watcher.watch()).toBe(watcher);
  expect(watcher.unwatch()).toBe(watcher);
});
