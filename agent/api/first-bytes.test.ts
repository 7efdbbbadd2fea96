import { expect, test } from "bun:test";
import { Buffer } from "node:buffer";
import type { Socket } from "bun";
import fc from "fast-check";
import { until } from "../../test/until.ts";
import { FirstBytes, type Protocol, protocolOf } from "./first-bytes.ts";
import { preface as prefaceBytes } from "./http2/frames.ts";
import { LateRequests } from "./late-requests.ts";
import type { ServedConnection } from "./served-connection.ts";

function connect(lateRequests = new LateRequests(60_000)) {
  const told: Protocol[] = [];
  const over: string[] = [];
  let received = "";
  let state = "open";
  const served: ServedConnection = {
    received: (bytes) => {
      received += bytes.toString("latin1");
    },
    drained: () => {},
    ended: () => over.push("ended"),
    closed: () => {},
    stop: () => {},
    cut: () => {},
    idleSinceMs: undefined,
  };
  const socket = {
    end: () => {
      state = "ended";
    },
    terminate: () => {
      state = "cut";
    },
  };
  const first = new FirstBytes(socket as unknown as Socket<unknown>, {
    lateRequests,
    onTold: (protocol) => {
      told.push(protocol);
      return served;
    },
    onOver: () => over.push("over"),
  });
  /** As the listener does: once it has told, the served one has the socket. */
  const send = (text: string) => {
    const bytes = Buffer.from(text, "latin1");
    (told.length === 0 ? first : served).received(bytes);
  };
  return { first, send, told, over, text: () => received, state: () => state };
}

const preface = prefaceBytes.toString("latin1");

// Whatever the bytes and wherever they are cut, it is h2 if they begin with the whole preface, and all bytes arrive.
test("how the first bytes are cut makes no difference", () => {
  const rest = fc.string({ unit: "binary-ascii", maxLength: 30 });
  const start = fc.oneof(
    fc.constant(preface),
    fc.nat(preface.length - 1).map((length) => preface.slice(0, length)),
    fc.constantFrom(
      "PRI /x HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSX",
    ),
  );
  fc.assert(
    fc.property(start, rest, fc.array(fc.nat(60)), (start, rest, cuts) => {
      const text = start + rest;
      const { send, told, first, text: received } = connect();
      let from = 0;
      for (const to of [...cuts.sort((a, b) => a - b), text.length]) {
        if (to > from) send(text.slice(from, to));
        from = Math.max(from, to);
      }
      const isBegun = preface.startsWith(text);
      if (text.startsWith(preface)) expect(told).toEqual(["http2"]);
      else expect(told).toEqual(isBegun ? [] : ["http1"]);
      if (!isBegun || text === preface) expect(received()).toBe(text);
      first.closed();
    }),
  );
});

test("PRI is a method of HTTP/1.1 like others", () => {
  for (const request of ["PRI * HTTP/1.1\r\n\r\n", "PRI /v1/health HTTP/1.1\r\n\r\n"]) {
    expect(protocolOf(Buffer.from(request))).toBe("http1");
  }
  expect(protocolOf(Buffer.from("PRI "))).toBeUndefined();
});

test("who sends no more after a part of the preface is told by HTTP/1.1 that this is no request", () => {
  const { send, first, told, over, text, state } = connect();
  send("PRI *");
  first.ended();
  expect([told, text(), over, state()]).toEqual([["http1"], "PRI *", ["over", "ended"], "open"]);
});

test("who sends no more and has said nothing is closed", () => {
  const { first, told, state } = connect();
  first.ended();
  expect([told, state()]).toEqual([[], "ended"]);
});

test("who has told is closed for its silence no more", async () => {
  const late = new LateRequests(6);
  const told = connect(late);
  const silent = connect(late);
  told.send("GET");
  await until(() => silent.state() === "ended");
  expect(told.state()).toBe("open");
});
