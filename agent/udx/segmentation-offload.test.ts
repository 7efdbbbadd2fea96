import { describe, expect, test } from "bun:test";
import { testIf } from "../../test/real.ts";
import { until } from "../../test/until.ts";
import { SegmentationOffload } from "./segmentation-offload.ts";

type Raw = import("bun").udp.Socket<"buffer"> & { readonly fd: number };

const HOST = "127.0.0.1";

function batchOf(port: number, host: string, ...sizes: number[]): (Uint8Array | number | string)[] {
  return sizes.flatMap((size, i) => [new Uint8Array(size).fill(i + 1), port, host]);
}

async function openPair(): Promise<{
  raw: Raw;
  port: number;
  received: number[][];
  close(): void;
}> {
  const received: number[][] = [];
  const raw = (await Bun.udpSocket({ hostname: HOST })) as Raw;
  const other = await Bun.udpSocket({
    hostname: HOST,
    socket: {
      data: (_socket, bytes) => {
        received.push([bytes.length, bytes[0] ?? 0]);
      },
    },
  });
  return {
    raw,
    port: other.port,
    received,
    close() {
      raw.close();
      other.close();
    },
  };
}

// Elsewhere there is no offload, and `bun-socket.ts` does without.
describe.skipIf(process.platform !== "linux")("one call", async () => {
  const { raw, port, received, close } = await openPair();
  const offload = new SegmentationOffload(raw.fd, 4);
  const missing = offload.works ? undefined : "this kernel has no UDP_SEGMENT";
  const run = (...sizes: number[]): number => offload.run(batchOf(port, HOST, ...sizes), 0);

  testIf(missing, "takes datagrams of one size, and a shorter one at the end", () => {
    expect(run(100, 100, 100)).toBe(3);
    expect(run(100, 100, 50)).toBe(3);
    expect(run(100, 100, 50, 100)).toBe(3);
    expect(run(100, 120, 100)).toBe(1);
    expect(run(50)).toBe(1);
    expect(run(...new Array<number>(100).fill(10))).toBe(64);
    expect(run(...new Array<number>(100).fill(1472))).toBe(44);
  });

  testIf(missing, "takes those to one place", () => {
    const batch = [...batchOf(port, HOST, 10, 10), ...batchOf(port + 1, HOST, 10)];
    expect(offload.run(batch, 0)).toBe(2);
    expect(offload.run(batch, 6)).toBe(1);
    expect(offload.run(batchOf(port, "::1", 10, 10), 0)).toBe(1);
    expect(offload.run([...batchOf(port, HOST, 10), ...batchOf(port, "127.0.0.2", 10)], 0)).toBe(1);
  });

  testIf(missing, "delivers each as it was", async () => {
    const batch = batchOf(port, HOST, 1472, 1472, 1472, 7);
    expect(offload.send(batch, 0, 4)).toBe(true);
    await until(() => received.length === 4);
    expect(received).toEqual([
      [1472, 1],
      [1472, 2],
      [1472, 3],
      [7, 4],
    ]);
  });

  testIf(missing, "that the system refuses isn't tried again", () => {
    // Segments larger than the path.
    const refused = new SegmentationOffload(raw.fd, 4);
    expect(refused.send(batchOf(port, HOST, 65_507), 0, 1)).toBe(false);
    expect(refused.works).toBe(false);
    const closed = new SegmentationOffload(1_000_000, 4);
    expect(closed.send(batchOf(port, HOST, 10, 10, 10), 0, 3)).toBe(false);
    expect(closed.works).toBe(false);
    close();
  });
});

test("there is none without a descriptor", () => {
  const offload = new SegmentationOffload(-1, 4);
  expect(offload.works).toBe(false);
  expect(offload.run(batchOf(1, HOST, 10, 10, 10), 0)).toBe(1);
});
