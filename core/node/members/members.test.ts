import { describe, expect, test } from "bun:test";
import { helloOf, keyOf, PlayedNode, site } from "../../../test/played-node.ts";
import type { Frame } from "../../change/frame.ts";
import { hlcZero } from "../../clock/stamp.ts";
import type { PeerId } from "../border.ts";
import { Members, membersMax } from "./members.ts";

describe("members", () => {
  const states = (node: PlayedNode) =>
    node
      .asked("members")
      .flatMap((request) =>
        request.kind === "members" ? request.rows.map(({ node, state }) => `${node} ${state}`) : [],
      );
  const heartbeat: Frame = {
    kind: "heartbeat",
    sequence: 1,
    hlc: hlcZero,
    incarnation: 1,
    storeLag: 0,
  };

  test("suspect after 0.8 s without a frame, down 5 s later with no open stream", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    expect(states(a)).toEqual(["b ALIVE"]);
    a.pass(790);
    expect(states(a)).toEqual([]);
    a.pass(20);
    expect(states(a)).toEqual(["b SUSPECT"]);
    // While the stream is open it stays a suspect, however long.
    a.pass(10_000);
    expect(states(a)).toEqual([]);
    a.do({ kind: "disconnected", peer: b });
    expect(states(a)).toEqual(["b DOWN"]);
    a.meet("b");
    expect(states(a)).toEqual(["b ALIVE"]);
  });

  test("one whose stream is closed is a suspect after 0.8 s without a frame, and down 5 s later, not before", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.do({ kind: "disconnected", peer: b });
    a.pass(790);
    expect(states(a)).toEqual([]);
    a.pass(20);
    expect(states(a)).toEqual(["b SUSPECT"]);
    a.pass(4980);
    expect(states(a)).toEqual([]);
    a.pass(20);
    expect(states(a)).toEqual(["b DOWN"]);
  });

  test("one that was down, comes back and says nothing more is a suspect, and down again", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.do({ kind: "disconnected", peer: b });
    a.pass(10_000);
    expect(states(a)).toEqual(["b SUSPECT", "b DOWN"]);
    a.meet("b");
    expect(states(a)).toEqual(["b ALIVE"]);
    // Not sooner than 2 s after it changed last.
    a.pass(1990);
    expect(states(a)).toEqual([]);
    a.pass(20);
    expect(states(a)).toEqual(["b SUSPECT"]);
    a.do({ kind: "disconnected", peer: b });
    a.pass(5010);
    expect(states(a)).toEqual(["b DOWN"]);
  });

  test("at most one change between suspect and alive in 2 s", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.pass(850);
    expect(states(a)).toEqual(["b SUSPECT"]);
    a.receive(b, heartbeat);
    expect(states(a)).toEqual([]);
    for (let i = 0; i < 10; i++) {
      a.pass(190);
      expect(states(a)).toEqual([]);
      a.receive(b, heartbeat);
    }
    a.pass(200);
    expect(states(a)).toEqual(["b ALIVE"]);
  });

  test("a node that comes back with another database, in the same incarnation, is told with its new site", () => {
    const a = new PlayedNode("a");
    a.start(1);
    a.meet("b", { incarnation: 1, site: site(1) });
    a.asked("members");
    a.meet("b", { incarnation: 1, site: site(2) });
    const rows = a.asked("members").flatMap((r) => (r.kind === "members" ? r.rows : []));
    expect(rows).toMatchObject([{ node: "b", site: site(2) }]);
  });

  test("a peer that says in every frame that it is another has the store write it a few times a second", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    const before = a.requests.length;
    for (let i = 1; i <= 2000; i++) {
      a.receive(b, helloOf(`b${i % 3}`, { incarnation: i, site: site(i) }));
      a.receive(b, { ...heartbeat, storeLag: (i % 4) as 0 | 1 | 2 | 3 });
      a.pass(1);
    }
    const writes = a.requests.slice(before).filter(({ kind }) => kind === "members").length;
    // In two seconds: with each heartbeat of this node, and the first hellos.
    expect(writes).toBeLessThan(25);
    expect(a.closed()).toEqual([]);
    // The last that it said is what it is.
    a.pass(400);
    const [, row] = a.machine.snapshot().members;
    expect(row).toMatchObject({ node: "b2", incarnation: 2000, site: site(2000) });
  });

  test("a machine that follows another in its process answers for the rows that the other told", () => {
    const first = new PlayedNode("a");
    first.start(1);
    for (const name of ["back", "dead", "down"]) first.meet(name);
    first.do({ kind: "disconnected", peer: keyOf("down") });
    for (let i = 0; i < 20; i++) {
      first.pass(500);
      for (const name of ["back", "dead"]) first.receive(keyOf(name), heartbeat);
    }
    const told = first.machine.snapshot().members;
    expect(told.map(({ node, state }) => `${node} ${state}`)).toEqual([
      "a ALIVE",
      "back ALIVE",
      "dead ALIVE",
      "down DOWN",
    ]);
    // Its thread died, and with it the streams.
    const a = new PlayedNode("a", {}, told);
    a.start(1);
    const changes: string[] = [];
    const pass = (ms: number) => {
      a.pass(ms);
      changes.push(...states(a));
    };
    pass(790);
    expect(changes).toEqual([]);
    pass(2500);
    expect(changes).toEqual(["back SUSPECT", "dead SUSPECT"]);
    const back = a.meet("back");
    expect(states(a)).toEqual(["back ALIVE"]);
    // One that doesn't come back is dead, or has other neighbours now: in no case a live host of this node's.
    const gone: PeerId[] = [];
    for (let i = 0; i < 40; i++) {
      pass(500);
      for (const request of a.asked("members")) {
        if (request.kind === "members") gone.push(...(request.parted ?? []));
      }
      a.receive(back, heartbeat);
    }
    expect(gone).toEqual([keyOf("dead")]);
    expect(a.machine.snapshot().members.map(({ node, state }) => `${node} ${state}`)).toEqual([
      "a ALIVE",
      "back ALIVE",
      "down DOWN",
    ]);
  });

  test("a neighbour that makes room is forgotten, by both, and is neither suspect nor down", () => {
    const leaver = new PlayedNode("leaver");
    leaver.start(1);
    const peer = leaver.meet("peer");
    expect(leaver.asked("members")).toHaveLength(1);
    leaver.do({ kind: "parting", peer });
    expect(leaver.sent(peer)).toEqual([{ kind: "farewell", why: 1 }]);
    expect(leaver.asked("members")).toEqual([{ kind: "members", rows: [], parted: [peer] }]);
    leaver.do({ kind: "disconnected", peer });
    leaver.pass(10_000);
    expect(leaver.asked("members")).toEqual([]);

    const left = new PlayedNode("left");
    left.start(2);
    const other = left.meet("other");
    left.receive(other, { kind: "farewell", why: 1 });
    expect(left.closed()).toEqual(["it made room among its neighbours"]);
    expect(left.asked("members")).toEqual([{ kind: "members", rows: [], parted: [other] }]);
    left.pass(10_000);
    expect(left.asked("members")).toEqual([]);

    // Back as a neighbour it is alive again.
    left.do({ kind: "connected", peer: other });
    left.receive(other, helloOf("other"));
    expect(left.asked("members")).toMatchObject([{ rows: [{ node: "other", state: "ALIVE" }] }]);
  });

  test("a planned stop is not a death before its time, and one for good is at once", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const [b, c] = [a.meet("b"), a.meet("c")];
    a.receive(b, { kind: "stop", untilMs: a.nowMs + 30_000, reason: "upgrade" });
    a.do({ kind: "disconnected", peer: b });
    a.receive(c, { kind: "stop", untilMs: 0, reason: "drained" });
    a.do({ kind: "disconnected", peer: c });
    expect(states(a)).toEqual(["c DOWN"]);
    a.pass(29_000);
    expect(states(a)).toEqual(["b SUSPECT"]);
    a.pass(2000);
    expect(states(a)).toEqual(["b DOWN"]);
  });

  test("who says that it restarts is waited for by its own clock, and not for ever", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const year = 365 * 86_400_000;
    // Its clock is a year ahead, and it will be back in ten seconds.
    const now = { ms: a.nowMs + year, count: 0 };
    const [ahead, broken] = [a.meet("ahead", { now }), a.meet("broken")];
    a.receive(ahead, { kind: "stop", untilMs: a.nowMs + year + 10_000, reason: "upgrade" });
    a.receive(broken, { kind: "stop", untilMs: 2 ** 48 - 1, reason: "upgrade" });
    for (const peer of [ahead, broken]) a.do({ kind: "disconnected", peer });
    a.pass(9900);
    expect(states(a)).toEqual(["ahead SUSPECT", "broken SUSPECT"]);
    a.pass(200);
    expect(states(a)).toEqual(["ahead DOWN"]);
    a.pass(600_000);
    expect(states(a)).toEqual(["broken DOWN"]);
  });

  test("a node that comes back with another name leaves no row behind", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.do({ kind: "disconnected", peer: b });
    a.do({ kind: "connected", peer: b });
    a.receive(b, helloOf("renamed", { incarnation: 2 }));
    expect(a.asked("members")).toMatchObject([
      { parted: [b], rows: [{ node: "renamed", key: b, state: "ALIVE" }] },
    ]);
  });

  test("a peer that says hello again, and nothing new, has nothing written", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    expect(a.asked("members")).toHaveLength(1);
    a.receive(b, helloOf("b"));
    expect(a.asked("members")).toEqual([]);
    a.receive(b, helloOf("b", { incarnation: 2 }));
    expect(a.asked("members")).toMatchObject([{ rows: [{ node: "b", incarnation: 2 }] }]);
  });

  test("how far a peer's store lags stands in its row, and since when it is what it is", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const metMs = a.nowMs;
    const b = a.meet("b");
    const rows = () => a.asked("members").flatMap((r) => (r.kind === "members" ? r.rows : []));
    expect(rows()).toMatchObject([{ storeLag: "ok", sinceMs: metMs }]);
    const lags = (["1s", "10s", "60s", "ok"] as const).map((lag, i) => {
      a.receive(b, { ...heartbeat, storeLag: ((i + 1) % 4) as 0 | 1 | 2 | 3 });
      a.pass(250);
      expect(rows()).toMatchObject([{ state: "ALIVE", storeLag: lag, sinceMs: metMs }]);
      a.receive(b, { ...heartbeat, storeLag: ((i + 1) % 4) as 0 | 1 | 2 | 3 });
      a.pass(250);
      return rows();
    });
    // What is as before isn't written again.
    expect(lags.flat()).toEqual([]);
    a.receive(b, { ...heartbeat, storeLag: 3 });
    a.pass(600);
    // Another life of it lags as far as it says.
    a.receive(b, helloOf("b", { incarnation: 2 }));
    expect(rows()).toMatchObject([{ incarnation: 2, storeLag: "ok" }]);
    const heardMs = a.nowMs;
    a.pass(1000);
    expect(rows().at(-1)).toMatchObject({ state: "SUSPECT", sinceMs: heardMs + 800 });
  });

  test("one that is back from its restart and dies then isn't waited for as long as it had said", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.receive(b, { kind: "stop", untilMs: a.nowMs + 600_000, reason: "upgrade" });
    a.do({ kind: "disconnected", peer: b });
    a.pass(2000);
    a.meet("b", { incarnation: 2 });
    a.do({ kind: "disconnected", peer: b });
    a.pass(10_000);
    expect(states(a).slice(-1)).toEqual(["b DOWN"]);
  });

  test("a node that comes back under another key takes its row at once, and the old key has no say in it", () => {
    // Whichever of the keys comes first where nodes of one name are as alive as each other.
    for (const [old, fresh] of [["key 1", "key 2"] as const, ["key 2", "key 1"] as const]) {
      const a = new PlayedNode("a");
      a.start(1);
      const come = (key: string) => {
        a.do({ kind: "connected", peer: keyOf(key) });
        a.receive(keyOf(key), helloOf("b"));
      };
      const changes: string[] = [];
      const note = () => {
        for (const request of a.asked("members")) {
          if (request.kind !== "members") continue;
          for (const { key, state } of request.rows) {
            changes.push(`${key === keyOf(fresh) ? "fresh" : "old"} ${state}`);
          }
        }
      };
      come(old);
      a.do({ kind: "disconnected", peer: keyOf(old) });
      come(fresh);
      note();
      for (let i = 0; i < 50; i++) {
        a.receive(keyOf(fresh), heartbeat);
        a.pass(200);
        note();
      }
      a.do({ kind: "disconnected", peer: keyOf(fresh) });
      a.pass(10_000);
      note();
      expect(changes).toEqual(["fresh ALIVE", "fresh SUSPECT", "fresh DOWN"]);
    }
  });

  test("the end of a node takes no other of its name out of use, this node neither", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const meet = (key: string, name: string) => {
      const peer = keyOf(key);
      a.do({ kind: "connected", peer });
      a.receive(peer, helloOf(name));
      return peer;
    };
    const end = (peer: PeerId) => {
      a.receive(peer, { kind: "stop", untilMs: 0, reason: "stopped" });
      a.do({ kind: "disconnected", peer });
    };
    const rows = () =>
      a.asked("members").flatMap((request) => (request as unknown as { rows: object[] }).rows);
    meet("first", "b");
    expect(rows()).toMatchObject([{ node: "b", key: keyOf("first"), state: "ALIVE" }]);
    const second = meet("second", "b");
    const namesake = meet("namesake", "a");
    expect(rows()).toEqual([]);
    end(namesake);
    expect(rows()).toEqual([]);
    end(second);
    expect(rows()).toMatchObject([{ node: "b", key: keyOf("first"), state: "ALIVE" }]);
    // The other one goes, too; and one of them comes back.
    end(keyOf("first"));
    expect(rows()).toMatchObject([{ node: "b", state: "DOWN" }]);
    meet("second", "b");
    expect(rows()).toMatchObject([{ node: "b", key: keyOf("second"), state: "ALIVE" }]);
    // Who is shown makes room, and the other is back: he takes the row.
    meet("first", "b");
    a.do({ kind: "parting", peer: keyOf("first") });
    expect(a.asked("members")).toMatchObject([
      { parted: [keyOf("first")], rows: [{ node: "b", key: keyOf("second"), state: "ALIVE" }] },
    ]);
  });

  test("a node that slept doesn't judge the others by its own sleep", () => {
    const a = new PlayedNode("a");
    a.start(1);
    a.meet("b");
    a.nowMs += 20_000;
    a.do({ kind: "timeout" });
    a.pass(700);
    expect(states(a)).toEqual([]);
    a.pass(200);
    expect(states(a)).toEqual(["b SUSPECT"]);
  });

  test("on a node that stutters every few seconds a dead one is SUSPECT, and then DOWN; never ALIVE", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const [b, other] = [a.meet("b"), a.meet("other")];
    for (let stutter = 0; stutter < 5; stutter++) {
      for (let i = 0; i < 12; i++) {
        a.receive(other, heartbeat);
        a.pass(200);
      }
      if (stutter === 0) a.do({ kind: "disconnected", peer: b });
      a.nowMs += 1000;
      a.do({ kind: "timeout" });
    }
    const seen = a.requests.flatMap((request) =>
      request.kind === "members" ? request.rows.map(({ node, state }) => `${node} ${state}`) : [],
    );
    expect(seen).toEqual(["a ALIVE", "b ALIVE", "other ALIVE", "b SUSPECT", "b DOWN"]);
  });

  test("a node that slept for long waits anew for those who were suspects before", () => {
    const a = new PlayedNode("a");
    a.start(1);
    const b = a.meet("b");
    a.pass(900);
    a.do({ kind: "disconnected", peer: b });
    a.pass(4000);
    a.nowMs += 20_000;
    a.do({ kind: "timeout" });
    a.pass(4900);
    expect(states(a)).toEqual([]);
    a.pass(200);
    expect(states(a)).toEqual(["b DOWN"]);
  });

  test("a wall clock that jumps back delays nothing", () => {
    const a = new PlayedNode("a");
    a.start(1);
    a.meet("b");
    a.pass(100);
    a.nowMs -= 3_600_000;
    a.do({ kind: "timeout" });
    a.pass(800);
    expect(states(a)).toEqual(["b SUSPECT"]);
  });

  test("of too many those that are down longest are forgotten, and none that is alive, or may be", () => {
    const members = new Members({ suspectMs: 800, downMs: 5000, flipMs: 2000 }, "a");
    const nowMs = 1_000_000_000_000;
    const come = (name: string, elapsedMs: number) => {
      const identity = { key: keyOf(name), name, region: "eu", zone: "z", incarnation: 1 };
      members.joined(identity, elapsedMs, nowMs);
    };
    const go = (name: string, elapsedMs: number) => {
      members.closed(keyOf(name), elapsedMs);
      members.check(elapsedMs, nowMs);
    };
    come("alive", 0);
    come("restarting", 0);
    members.stopped(keyOf("restarting"), 600_000, 0);
    go("restarting", 0);
    let elapsedMs = 0;
    for (let i = 0; i < membersMax; i++) {
      elapsedMs += 10;
      come(`${i}`, elapsedMs);
      members.stopped(keyOf(`${i}`), undefined, elapsedMs);
      members.closed(keyOf(`${i}`), elapsedMs);
      members.heard(keyOf("alive"), elapsedMs);
      // Each look goes through all.
      if (i % 64 === 63) members.check(elapsedMs, nowMs);
    }
    const names = members.rows().map(({ node }) => node);
    expect(names).toHaveLength(membersMax);
    expect(members.takeParted()).toEqual([keyOf("0"), keyOf("1")]);
    expect(names.slice(0, 3)).toEqual(["alive", "restarting", "2"]);
    // One that was forgotten and comes back is as any other.
    come("0", elapsedMs);
    expect(members.state(keyOf("0"))).toBe("ALIVE");
  });
});
