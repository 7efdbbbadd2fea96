import { describe, expect, test } from "bun:test";
import { sha256 } from "../../../agent/host/sha256.ts";
import { changeset, PlayedNode, push, site } from "../../../test/played-node.ts";
import { changesetId, type Lane } from "../../change/changeset.ts";
import type { Frame } from "../../change/frame.ts";
import { decodeHello } from "../../change/hello.ts";
import type { PeerId } from "../border.ts";
import { nodeDefaults } from "../options.ts";

const { tellMs, graftAfterMs, graftMs, idsPerPeerMax, keptMs } = nodeDefaults.plumtree;
/** One tick more than what is waited for. */
const untilAskedMs = graftAfterMs + 2 * tellMs;

const idOf = (origin: number, count: number, lane: Lane = 1, bytes?: number) =>
  changesetId(sha256, changeset(origin, count, lane, bytes));
const told = (...ids: ReturnType<typeof idOf>[]): Frame => ({
  kind: "ihave",
  isForAsking: false,
  ids,
});
const toldLarge = (...ids: ReturnType<typeof idOf>[]): Frame => ({
  kind: "ihave",
  isForAsking: true,
  ids,
});
const graft = (...ids: ReturnType<typeof idOf>[]): Frame => ({ kind: "graft", ids });

/** A node with so many peers that speak of ids, and what it says to one of them that is about changesets. */
function played(names: string) {
  const a = new PlayedNode("a");
  a.start(1);
  const peers = [...names].map((name) => a.meet(name, { features: ["plumtree"] }));
  const kinds = ["push", "ihave", "graft", "prune"];
  const said = (peer: PeerId | undefined) =>
    a.sent(peer).filter(({ kind }) => kinds.includes(kind));
  return { a, peers: peers as [PeerId, PeerId, PeerId, PeerId, PeerId], said };
}

describe("a tree for each site", () => {
  test("a peer over which a change comes again is asked to prune; the one over which it came first isn't", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    a.receive(b, push(9, 1, 1));
    a.receive(c, push(9, 1, 1));
    // Twice over one stream.
    a.receive(b, push(9, 1, 1));
    expect(said(c)).toEqual([]);
    a.pass(tellMs);
    expect(said(c)).toEqual([{ kind: "prune", sites: [site(9)] }]);
    expect(said(b)).toEqual([]);
  });

  test("what a peer had sent before it heard of the prune doesn't make it the one that goes on", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    a.receive(b, push(9, 1, 1));
    a.receive(c, push(9, 1, 1));
    a.pass(tellMs);
    a.receive(c, push(9, 2, 1));
    a.receive(b, push(9, 2, 1));
    a.pass(tellMs);
    expect(said(undefined)).toEqual([]);
    // It goes on: so it hasn't heard, or was asked to.
    a.pass(graftMs);
    a.receive(c, push(9, 4, 1));
    a.receive(b, push(9, 4, 1));
    a.pass(tellMs);
    expect(said(c)).toEqual([]);
    expect(said(b)).toEqual([{ kind: "prune", sites: [site(9)] }]);
  });

  test("a peer that pruned is sent ids in batches, of that site, and pushes once it grafts", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c, d] = peers;
    a.receive(c, { kind: "prune", sites: [site(9)] });
    a.receive(b, push(9, 1, 1));
    expect(said(d)).toEqual([push(9, 1, 1)]);
    expect(said(c)).toEqual([]);
    a.receive(b, push(9, 2, 1));
    a.receive(b, push(8, 1, 1));
    expect(said(c)).toEqual([push(8, 1, 1)]);
    a.pass(tellMs);
    expect(said(c)).toEqual([told(idOf(9, 1), idOf(9, 2))]);
    a.receive(c, graft(idOf(9, 2)));
    expect(said(c)).toEqual([push(9, 2, 1)]);
    // Once over one stream is enough.
    a.receive(c, graft(idOf(9, 2)));
    expect(said(c)).toEqual([]);
    a.receive(b, push(9, 3, 1));
    expect(said(c)).toEqual([push(9, 3, 1)]);
  });

  test("a peer that has told of a change isn't told of it", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    a.receive(c, { kind: "prune", sites: [site(9)] });
    a.receive(b, push(9, 1, 1));
    a.receive(c, told(idOf(9, 1)));
    a.pass(tellMs);
    expect(said(c)).toEqual([]);
  });

  test("what is urgent goes to everybody, whoever pruned", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c, ...others] = peers;
    a.receive(c, { kind: "prune", sites: [site(9)] });
    a.receive(b, push(9, 1, 0));
    for (const peer of [c, ...others]) expect(said(peer)).toEqual([push(9, 1, 0)]);
    a.receive(c, push(9, 1, 0));
    a.pass(tellMs);
    expect(said(c)).toEqual([]);
  });

  test("with four peers nobody is asked to prune, and large changes go to all at once", () => {
    const { a, peers, said } = played("bcde");
    const [b, c, d] = peers;
    a.receive(b, push(9, 1, 1));
    a.receive(c, push(9, 1, 1));
    a.pass(tellMs);
    expect(said(c)).toEqual([]);
    a.receive(b, push(9, 2, 2));
    expect(said(c)).toEqual([push(9, 2, 2)]);
    expect(said(d)).toEqual([push(9, 2, 2)]);
  });

  test("a peer whose hello doesn't know of it is sent everything, told nothing and not listened to", () => {
    const { a, peers, said } = played("bcdef");
    const [b] = peers;
    const old = a.meet("old", { features: ["stream"] });
    a.receive(old, { kind: "prune", sites: [site(9)] });
    a.receive(old, told(idOf(9, 5)));
    a.receive(b, push(9, 1, 1));
    expect(said(old)).toEqual([push(9, 1, 1)]);
    a.receive(old, push(9, 1, 1));
    a.receive(b, push(9, 2, 2));
    expect(said(old)).toEqual([push(9, 2, 2)]);
    a.pass(untilAskedMs);
    expect(said(old)).toEqual([]);
  });

  test("a node says in its hello that it knows of it", () => {
    const a = new PlayedNode("a");
    a.start(1);
    a.do({ kind: "connected", peer: "b".repeat(64) as PeerId });
    const hello = a.sent()[0] as Extract<Frame, { kind: "hello" }>;
    expect(decodeHello(hello.body)).toMatchObject({ hello: { features: ["stream", "plumtree"] } });
  });

  test("a new stream to a peer that pruned is sent everything", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    a.receive(c, { kind: "prune", sites: [site(9)] });
    a.do({ kind: "disconnected", peer: c });
    a.meet("c", { features: ["plumtree"] });
    a.receive(b, push(9, 1, 1));
    expect(said(c)).toEqual([push(9, 1, 1)]);
  });

  test("of the sites that a peer names the latest are remembered", () => {
    const { sitesPerPeerMax } = nodeDefaults.plumtree;
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    a.receive(c, { kind: "prune", sites: [site(7)] });
    for (let at = 0; at < sitesPerPeerMax; at += 1024) {
      const sites = Array.from({ length: 1024 }, (_, i) => site(1000 + at + i));
      a.receive(c, { kind: "prune", sites });
    }
    a.receive(b, push(7, 1, 1));
    expect(said(c)).toEqual([push(7, 1, 1)]);
    a.receive(b, push(1000, 1, 1));
    expect(said(c)).toEqual([]);
  });
});

describe("a change that is told of and doesn't come", () => {
  test("is asked for of the first that told, and then of another", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    a.receive(b, told(idOf(9, 1)));
    a.receive(c, told(idOf(9, 1)));
    a.pass(graftAfterMs - 1);
    expect(said(undefined)).toEqual([]);
    a.pass(2 * tellMs);
    expect(said(undefined)).toEqual([graft(idOf(9, 1))]);
    expect(said(b)).toEqual([graft(idOf(9, 1))]);
    a.pass(graftMs + tellMs);
    expect(said(b)).toEqual([]);
    expect(said(c)).toEqual([graft(idOf(9, 1))]);
    // Nobody is left: it is a matter of repair.
    a.pass(3 * graftMs);
    expect(said(undefined)).toEqual([]);
    expect(a.machine.snapshot().counters).toMatchObject({ grafts: 2, graftsInVain: 2 });
  });

  test("isn't asked for if it comes meanwhile, whoever sends it", () => {
    const { a, peers, said } = played("bcdef");
    const [b, , d] = peers;
    a.receive(b, told(idOf(9, 1)));
    a.receive(d, push(9, 1, 1));
    a.pass(untilAskedMs);
    expect(said(undefined)).toEqual([]);
  });

  test("is asked for of another at once when the stream to the one that was asked ends", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    a.receive(b, told(idOf(9, 1)));
    a.receive(c, told(idOf(9, 1)));
    a.pass(untilAskedMs);
    a.do({ kind: "disconnected", peer: b });
    a.pass(tellMs);
    expect(said(c)).toEqual([graft(idOf(9, 1))]);
  });

  test("a copy that was damaged on its way isn't the one that was told of", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c, d] = peers;
    a.receive(b, told(idOf(9, 1)));
    a.receive(d, told(idOf(9, 1)));
    const damaged = changeset(9, 1, 1);
    damaged[damaged.length - 1] = 0x55;
    a.receive(c, { kind: "push", lane: 1, changeset: damaged });
    a.pass(untilAskedMs);
    expect(said(b)).toEqual([graft(idOf(9, 1))]);
    // Nor when it is the answer.
    a.receive(b, { kind: "push", lane: 1, changeset: damaged });
    a.pass(graftMs + tellMs);
    expect(said(d)).toEqual([graft(idOf(9, 1))]);
    a.receive(d, push(9, 1, 1));
    expect(a.machine.snapshot().counters.pushesReceived).toBe(2);
  });

  test("a peer that lets requests go by is asked after the others, for a while", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    a.receive(b, told(idOf(9, 1)));
    a.pass(untilAskedMs + graftMs + tellMs);
    a.receive(b, told(idOf(9, 2)));
    a.receive(c, told(idOf(9, 2)));
    // A large one isn't asked for at once of such a peer.
    a.receive(b, toldLarge(idOf(9, 3, 2)));
    expect(said(b)).toEqual([]);
    a.receive(c, toldLarge(idOf(9, 3, 2)));
    a.pass(untilAskedMs);
    expect(said(b)).toEqual([]);
    expect(said(c)).toEqual([graft(idOf(9, 2), idOf(9, 3, 2))]);
  });

  test("ids that a peer makes up cost a bounded memory, and keep those of others from nothing", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    for (let at = 0; at < 3 * idsPerPeerMax; at += 1000) {
      a.receive(b, told(...Array.from({ length: 1000 }, (_, i) => idOf(9, at + i))));
    }
    a.receive(c, told(idOf(8, 1)));
    a.pass(untilAskedMs);
    const asked = said(b).flatMap((frame) => (frame.kind === "graft" ? frame.ids : []));
    expect(asked).toHaveLength(idsPerPeerMax);
    expect(said(c)).toEqual([graft(idOf(8, 1))]);
    a.pass(2 * graftMs);
    // They are forgotten when nobody is left to ask.
    a.receive(b, told(idOf(7, 1)));
    a.pass(untilAskedMs);
    expect(said(b)).toEqual([]);
    a.pass(graftMs - graftAfterMs);
    expect(said(b)).toEqual([graft(idOf(7, 1))]);
  });
});

describe("large changes", () => {
  test("are told of at once, and sent to those who ask", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c, d] = peers;
    a.receive(b, push(9, 1, 2));
    expect(said(b)).toEqual([]);
    expect(said(c)).toEqual([toldLarge(idOf(9, 1, 2))]);
    a.receive(d, graft(idOf(9, 1, 2)));
    expect(said(undefined)).toEqual([push(9, 1, 2)]);
    a.pass(keptMs + 100);
    a.receive(c, graft(idOf(9, 1, 2)));
    expect(said(c)).toEqual([]);
  });

  test("of this node go to two peers at once: it may be about to stop", () => {
    const { a, said } = played("bcdefg");
    const body = changeset(1, 1, 2);
    const stamp = { ms: 1_000_000_000_000, count: 1, site: site(1) };
    a.reply({ kind: "commit", stamp, lane: 2, changeset: body });
    const kinds = said(undefined).map(({ kind }) => kind);
    expect(kinds.sort()).toEqual(["ihave", "ihave", "ihave", "ihave", "push", "push"]);
  });

  test("are asked for at once, and of another peer when no parts come any more", () => {
    const { a, peers, said } = played("bcdef");
    const [b, c] = peers;
    const id = idOf(9, 1, 2);
    a.receive(b, toldLarge(id));
    expect(said(b)).toEqual([graft(id)]);
    a.receive(c, toldLarge(id));
    expect(said(c)).toEqual([]);
    const part: Frame = {
      ...{ kind: "part", lane: 2, transfer: 1, bytesTotal: 2 ** 24 },
      bytes: new Uint8Array(2 ** 16),
    };
    for (let i = 0; i < 5; i++) {
      a.pass(graftMs - tellMs);
      expect(said(c)).toEqual([]);
      a.receive(b, part);
    }
    a.pass(graftMs + tellMs);
    expect(said(c)).toEqual([graft(id)]);
  });
});
