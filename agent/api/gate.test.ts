import { expect, test } from "bun:test";
import type { Access } from "./access.ts";
import { createGate } from "./gate.ts";
import { TokenSet } from "./token-set.ts";

const access: Access = { mayWrite: false, tables: undefined };
const secret = "sixteen letters!";
const gate = createGate({
  tokens: new TokenSet([{ name: "proxy", secret, access }]),
  endpointName: "",
});

function ask(authorization: string): number | "admitted" {
  const head = {
    ...{ method: "GET", path: "/v1/status", query: "" },
    header: (name: string) => (name === "authorization" ? authorization : undefined),
  };
  const admission = gate(head);
  return admission.kind === "admitted" ? "admitted" : admission.response.status;
}

test("a bearer's secret may have spaces around it", () => {
  expect(ask(`Bearer ${secret}`)).toBe("admitted");
  expect(ask(`bEARER   ${secret}  `)).toBe("admitted");
  expect(ask(`Bearer ${secret}x`)).toBe(401);
  expect(ask("Bearer    ")).toBe(401);
  expect(ask(`Bearer${secret}`)).toBe(400);
  expect(ask(`Basic ${secret}`)).toBe(400);
});

// Each of them took a third of a second: whoever can connect had the thread that serves stand still.
test("a header of spaces takes no longer than others", () => {
  const spaces = " ".repeat(15_000);
  const beganMs = performance.now();
  for (let i = 0; i < 20; i++) expect(ask(`Bearer x${spaces}y`)).toBe(401);
  expect(performance.now() - beganMs).toBeLessThan(1000);
});
