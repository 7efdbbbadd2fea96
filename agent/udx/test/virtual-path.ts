/**
 * Two stream machines, and between them a path with faults, in virtual time: a run of minutes takes
 * milliseconds and is the same for the same seed.
 *
 * @module
 */

import { createPacket, decodePacket, HEADER_BYTES, OVERHEAD_IPV4_BYTES } from "../packet.ts";
import type { Path } from "../path.ts";
import { SeededRandom } from "../seeded-random.ts";
import type { StreamEvent, StreamMachineOptions } from "../stream-machine.ts";
import { StreamMachine } from "../stream-machine.ts";

export interface PathFaults {
  /** One way. */
  delayMs: number;
  /** Added to the delay, uniformly below this: reorders. */
  jitterMs: number;
  loss: number;
  duplication: number;
  /** Bottleneck; infinity is none. */
  bytesPerMs: number;
  /** What the bottleneck holds before it drops: much is bufferbloat. */
  queueBytes: number;
  /** Larger IP packets vanish without a word. */
  mtu: number;
}

const CLEAN: PathFaults = {
  delayMs: 10,
  jitterMs: 0,
  loss: 0,
  duplication: 0,
  bytesPerMs: Number.POSITIVE_INFINITY,
  queueBytes: Number.POSITIVE_INFINITY,
  mtu: 1500,
};

const PATH: Path = { host: "127.0.0.1", port: 1, family: 4 };
const IP_BYTES = OVERHEAD_IPV4_BYTES - HEADER_BYTES;

interface Arrival {
  at: number;
  order: number;
  to: Side;
  bytes: Uint8Array;
}

/** One end: a machine, and an application that writes and reads. */
export class Side {
  readonly machine: StreamMachine<Path>;
  readonly events: StreamEvent[] = [];
  readonly received: Uint8Array[] = [];
  receivedBytes = 0;
  /** Takes chunks as they come; false is a reader that doesn't read. */
  reading = true;
  /** When the bottleneck has sent what it holds. */
  busyUntil = 0;
  maxInflight = 0;
  heldMax = 0;

  constructor(id: number, options: StreamMachineOptions) {
    this.machine = new StreamMachine<Path>(id, 0, options);
  }

  get closed(): string | null {
    for (const event of this.events) if (event.kind === "closed") return event.reason;
    return null;
  }

  take(): void {
    this.heldMax = Math.max(this.heldMax, this.machine.heldBytes);
    if (!this.reading) return;
    for (;;) {
      const chunk = this.machine.takeChunk();
      if (chunk === undefined) return;
      this.received.push(chunk.bytes.subarray(chunk.start, chunk.end));
      this.receivedBytes += chunk.end - chunk.start;
    }
  }

  /** All that was received, in one piece. */
  bytes(): Uint8Array {
    return Buffer.concat(this.received);
  }
}

export class VirtualPath {
  now = 0;
  readonly a: Side;
  readonly b: Side;
  readonly faults: PathFaults;
  readonly random: SeededRandom;
  dropped = 0;
  delivered = 0;
  /** Called with each packet before the path's own faults; true drops it. */
  drops: ((bytes: Uint8Array, from: Side) => boolean) | null = null;
  #arrivals: Arrival[] = [];
  #order = 0;
  readonly #packet = createPacket();

  constructor(
    seed: number,
    faults: Partial<PathFaults> = {},
    options: { a?: StreamMachineOptions; b?: StreamMachineOptions } = {},
  ) {
    this.random = new SeededRandom(seed);
    this.faults = { ...CLEAN, ...faults };
    this.a = new Side(1, options.a ?? {});
    this.b = new Side(2, options.b ?? {});
  }

  connect(): this {
    this.a.machine.connect(2, PATH, this.now, this.b.machine.sendSeq);
    this.b.machine.connect(1, PATH, this.now, this.a.machine.sendSeq);
    return this;
  }

  /** The end of a turn at one side: what it wants sent goes onto the path. */
  flush(side: Side): void {
    side.machine.transmit(this.now, (bytes) => this.send(bytes, side), true);
    side.maxInflight = Math.max(side.maxInflight, side.machine.inflightPackets);
    this.#collect(side);
  }

  send(bytes: Uint8Array, from: Side): void {
    const { faults, random } = this;
    const ipBytes = bytes.length + IP_BYTES;
    if (this.drops?.(bytes, from) === true || ipBytes > faults.mtu || random.next() < faults.loss) {
      this.dropped++;
      return;
    }
    let departs = this.now;
    if (faults.bytesPerMs !== Number.POSITIVE_INFINITY) {
      const queued = Math.max(0, from.busyUntil - this.now) * faults.bytesPerMs;
      if (queued + ipBytes > faults.queueBytes) {
        this.dropped++;
        return;
      }
      from.busyUntil = Math.max(from.busyUntil, this.now) + ipBytes / faults.bytesPerMs;
      departs = from.busyUntil;
    }
    const copies = random.next() < faults.duplication ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const at = departs + faults.delayMs + random.next() * faults.jitterMs;
      this.#push({
        at,
        order: this.#order++,
        to: from === this.a ? this.b : this.a,
        bytes: bytes.slice(),
      });
    }
  }

  /** Runs until `done` or until the time is up; says whether it was done. */
  run(untilMs: number, done: () => boolean = () => false): boolean {
    this.flush(this.a);
    this.flush(this.b);
    while (!done()) {
      const arrival = this.#arrivals[0];
      const next = Math.min(
        arrival?.at ?? Number.POSITIVE_INFINITY,
        this.a.machine.nextTimeout(),
        this.b.machine.nextTimeout(),
      );
      if (next > untilMs) {
        this.now = untilMs;
        return done();
      }
      this.now = Math.max(this.now, next);
      for (const side of [this.a, this.b]) {
        let touched = false;
        while (this.#arrivals[0] !== undefined && this.#arrivals[0].at <= this.now) {
          const first = this.#arrivals[0];
          if (first.to !== side) break;
          this.#pop();
          this.delivered++;
          if (decodePacket(first.bytes, this.#packet)) {
            side.machine.handle(first.bytes, this.#packet, this.now);
          }
          touched = true;
        }
        if (side.machine.nextTimeout() <= this.now) {
          side.machine.handleTimeout(this.now, (bytes) => this.send(bytes, side));
          touched = true;
        }
        if (touched) {
          side.take();
          this.flush(side);
        }
      }
    }
    return true;
  }

  #collect(side: Side): void {
    side.events.push(...side.machine.events);
    side.machine.events = [];
    side.take();
  }

  // A heap by time, and by order within it.
  #push(arrival: Arrival): void {
    const heap = this.#arrivals;
    let i = heap.push(arrival) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!before(arrival, heap[parent] as Arrival)) break;
      heap[i] = heap[parent] as Arrival;
      i = parent;
    }
    heap[i] = arrival;
  }

  #pop(): void {
    const heap = this.#arrivals;
    const last = heap.pop() as Arrival;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = i * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Arrival, heap[child] as Arrival)) {
        child++;
      }
      if (!before(heap[child] as Arrival, last)) break;
      heap[i] = heap[child] as Arrival;
      i = child;
    }
    heap[i] = last;
  }
}

function before(a: Arrival, b: Arrival): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Bytes that tell their place: a missing, repeated or exchanged packet shows. */
export function pattern(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (Math.imul(i, 2_654_435_761) >>> 24) ^ (i & 0xff);
  return bytes;
}
