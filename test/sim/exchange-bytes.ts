/**
 * What each exchange of repair costs on the wire, each way: looks at frames as they are sent.
 *
 * An exchange begins with a root that asks. To it count all of its own frames, a behind that answers it,
 * and what its beginner fetches or offers before it begins the next with the same peer: that goes under other
 * numbers. What a new connection begins with, the recent rows and what is fetched for them, is no
 * exchange; nor is one that is answered with busy: nothing was compared, and what its beginner fetches then is for what the other
 * began.
 *
 * @module
 */

import { frameKind } from "../../core/change/frame.ts";
import type { Endpoint } from "./network.ts";

/** Of the frame's length, before its kind. */
const lengthBytes = 4;
/** Kind, lane, scope. */
const exchangeOffset = 3;
const flagsOffset = 7;
const answerFlag = 1;
const liveFlag = 2;

interface Exchange {
  readonly from: Endpoint;
  /** Of live states, as after a start, and so of what is in flight too. */
  readonly isLive: boolean;
  readonly bytes: [there: number, back: number];
}

export interface ExchangeCosts {
  readonly exchanges: number;
  /** With at most so many bytes each way. */
  readonly within: number;
  /** Of these, those that compared live states, and how many there were. */
  readonly liveWithin: number;
  readonly live: number;
  /** The most expensive ones, both ways added. */
  readonly largest: readonly number[];
}

export class ExchangeBytes {
  readonly #exchanges: Exchange[] = [];
  readonly #byName = new Map<string, Exchange>();
  /** The last that one node began with another. */
  readonly #lastBegun = new Map<string, Exchange>();

  /** Tells of a frame that leaves `from`. */
  sent(from: Endpoint, to: Endpoint, frame: Uint8Array): void {
    switch (frame[0]) {
      case frameKind.root:
      case frameKind.walk:
      case frameKind.list: {
        const flags = frame[flagsOffset] as number;
        const isAnswer = (flags & answerFlag) !== 0;
        if (frame[0] === frameKind.root && !isAnswer) this.#begin(from, to, frame, flags);
        this.#countNamed(isAnswer ? to : from, isAnswer ? from : to, from, frame);
        return;
      }
      case frameKind.busy:
        this.#refuse(to, from, frame);
        return;
      case frameKind.behind:
        this.#countNamed(to, from, from, frame);
        return;
      case frameKind.rows:
      case frameKind.streamed:
        this.#count(to, from, from, frame);
        return;
      case frameKind.fetch:
      case frameKind.stream: {
        const exchange = this.#lastBegun.get(pairOf(from, to));
        if (exchange !== undefined) this.#byName.set(nameOf(from, to, frame), exchange);
        this.#count(from, to, from, frame);
        return;
      }
      case frameKind.hello:
        this.#lastBegun.delete(pairOf(from, to));
        return;
      default:
    }
  }

  costs(bytesMax: number): ExchangeCosts {
    const sums = this.#exchanges.map(({ bytes: [there, back] }) => there + back);
    const within = this.#exchanges.filter(({ bytes }) => Math.max(...bytes) <= bytesMax);
    return {
      exchanges: this.#exchanges.length,
      within: within.length,
      liveWithin: within.filter(({ isLive }) => isLive).length,
      live: this.#exchanges.filter(({ isLive }) => isLive).length,
      largest: sums.sort((a, b) => b - a).slice(0, 5),
    };
  }

  #begin(from: Endpoint, to: Endpoint, frame: Uint8Array, flags: number): void {
    const exchange: Exchange = { from, isLive: (flags & liveFlag) !== 0, bytes: [0, 0] };
    this.#exchanges.push(exchange);
    this.#byName.set(nameOf(from, to, frame), exchange);
    this.#lastBegun.set(pairOf(from, to), exchange);
  }

  #refuse(asks: Endpoint, answers: Endpoint, frame: Uint8Array): void {
    const exchange = this.#byName.get(nameOf(asks, answers, frame));
    if (exchange !== undefined) this.#exchanges.splice(this.#exchanges.indexOf(exchange), 1);
  }

  /** @param asks Whose number the frame has; of rows that are offered nobody's. */
  #count(asks: Endpoint, answers: Endpoint, from: Endpoint, frame: Uint8Array): void {
    const named = this.#byName.get(nameOf(asks, answers, frame));
    add(named ?? this.#lastBegun.get(pairOf(from, from === asks ? answers : asks)), from, frame);
  }

  /** What belongs to no other exchange than its own: to none, if that began before anybody looked. */
  #countNamed(asks: Endpoint, answers: Endpoint, from: Endpoint, frame: Uint8Array): void {
    add(this.#byName.get(nameOf(asks, answers, frame)), from, frame);
  }
}

function add(exchange: Exchange | undefined, from: Endpoint, frame: Uint8Array): void {
  if (exchange === undefined) return;
  exchange.bytes[exchange.from === from ? 0 : 1] += lengthBytes + frame.length;
}

function pairOf(from: Endpoint, to: Endpoint): string {
  return `${from.index}>${to.index}`;
}

function nameOf(asks: Endpoint, answers: Endpoint, frame: Uint8Array): string {
  const number = new DataView(frame.buffer, frame.byteOffset).getUint32(exchangeOffset);
  return `${pairOf(asks, answers)} ${number}`;
}
