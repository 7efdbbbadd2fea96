import { describe, expect, test } from "bun:test";
import type { RateStamp } from "./congestion.ts";
import { Congestion, CWND_INITIAL_PACKETS } from "./congestion.ts";

const stamp = (): RateStamp => ({
  sentAt: 0,
  size: 1200,
  deliveredAtSend: 0,
  deliveredTimeAtSend: 0,
  firstSentAt: 0,
  appLimited: false,
});

function created(): Congestion {
  const congestion = new Congestion(0);
  congestion.setPayloadBytes(1152);
  return congestion;
}

/** One round: sends as much as the window allows, and all of it arrives after the round trip. */
function round(congestion: Congestion, now: number, rttMs: number, packets: number): void {
  const sent = Array.from({ length: packets }, (_, i) => {
    const packet = stamp();
    congestion.onSend(packet, now, i);
    return packet;
  });
  for (const packet of sent) congestion.onDelivered(packet, rttMs);
  congestion.onAck(now + rttMs, packets, 0, 0);
}

describe("the window", () => {
  test("starts at ten packets", () => {
    expect(created().cwndPackets).toBe(CWND_INITIAL_PACKETS);
  });

  test("doubles each round while bandwidth does", () => {
    const congestion = created();
    const windows: number[] = [];
    for (let i = 0; i < 6; i++) {
      windows.push(congestion.cwndPackets);
      round(congestion, i * 50, 50, Math.floor(congestion.cwndPackets));
    }
    expect(windows).toEqual([10, 20, 40, 80, 160, 320]);
    expect(congestion.state).toBe("startup");
  });

  test("stops growing when bandwidth has, and is about twice the path", () => {
    const congestion = created();
    // 100 packets each 50 ms, whatever the window.
    for (let i = 0; i < 40; i++) {
      const packets = Math.min(Math.floor(congestion.cwndPackets), 100);
      round(congestion, i * 50, 50, packets);
    }
    expect(congestion.state).toBe("probe-bw");
    expect(congestion.cwndPackets).toBeGreaterThan(100);
    expect(congestion.cwndPackets).toBeLessThan(320);
    expect(congestion.bandwidthBytesPerSecond).toBeCloseTo((100 / 50) * 1000 * 1152, -4);
  });

  test("is never below four packets", () => {
    const congestion = created();
    congestion.onRetransmissionTimeout(0);
    expect(congestion.cwndPackets).toBe(4);
  });
});

describe("pacing", () => {
  test("lets a burst go, and then makes it wait", () => {
    const congestion = created();
    let sent = 0;
    while (congestion.pacingDelayMs(0) === 0 && sent < 1000) congestion.onSend(stamp(), 0, sent++);
    // Below what a default receive buffer holds.
    expect(sent).toBeGreaterThanOrEqual(10);
    expect(sent).toBeLessThanOrEqual(50);
    const delayMs = congestion.pacingDelayMs(0);
    expect(delayMs).toBeGreaterThan(0);
    expect(congestion.pacingDelayMs(delayMs + 0.001)).toBe(0);
  });

  test("follows the bandwidth", () => {
    const congestion = created();
    for (let i = 0; i < 40; i++) {
      round(congestion, i * 50, 50, Math.min(Math.floor(congestion.cwndPackets), 100));
    }
    // 100 packets each 50 ms are 2344 bytes/ms on the wire; the probing gain moves it by a quarter.
    expect(congestion.pacingBytesPerMs).toBeGreaterThan(2344 * 0.7);
    expect(congestion.pacingBytesPerMs).toBeLessThan(2344 * 1.3);
  });
});

test("an application that sends little doesn't lower the bandwidth that was seen", () => {
  const congestion = created();
  for (let i = 0; i < 40; i++) {
    round(congestion, i * 50, 50, Math.min(Math.floor(congestion.cwndPackets), 100));
  }
  const before = congestion.bandwidthBytesPerSecond;
  for (let i = 0; i < 8; i++) {
    congestion.onAppLimited(0);
    round(congestion, 2000 + i * 50, 50, 2);
  }
  expect(congestion.bandwidthBytesPerSecond).toBe(before);
});

test("another path starts anew", () => {
  const congestion = created();
  for (let i = 0; i < 40; i++) {
    round(congestion, i * 50, 50, Math.min(Math.floor(congestion.cwndPackets), 100));
  }
  congestion.onPathChange(2000);
  expect(congestion.state).toBe("startup");
  expect(congestion.bandwidthBytesPerSecond).toBe(0);
  expect(congestion.minRttMs).toBe(Number.POSITIVE_INFINITY);
});
