import { expect, test } from "bun:test";
import { snakeCased } from "./snake-case.ts";

test("names are renamed to any depth, values stay", () => {
  const data = { bytesSent: 1, peers: [{ rttMs: 2, name: "edgeA" }], none: null, list: ["aB"] };
  expect(snakeCased(data)).toEqual({
    bytes_sent: 1,
    peers: [{ rtt_ms: 2, name: "edgeA" }],
    none: null,
    list: ["aB"],
  });
});

test("texts that something is counted by are no names", () => {
  const refused = { "Invalid header received": 2, full: 1 };
  const renamed: unknown = snakeCased({ refused });
  expect(renamed).toEqual({ refused });
});
