/**
 * Takes a connection's bytes apart into frames (RFC 9113 §3.4, §4.1), and sees to those that concern the whole connection
 * (§6.5 to §6.9). Those of streams are for `requests.ts`.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import type { ControlFrames } from "./control-frames.ts";
import {
  type ErrorCode,
  errorCodes,
  flags,
  frameHeadBytes,
  frameTypes,
  payloadBytesMax,
  preface,
  u24At,
  u31At,
} from "./frames.ts";
import { readSettings, type SettingsFault } from "./peer-settings.ts";
import type { Requests } from "./requests.ts";
import type { Sender } from "./sender.ts";

const settingsFaultCodes: Readonly<Record<SettingsFault, ErrorCode>> = {
  "wrong-size": errorCodes.frameSize,
  "too-many": errorCodes.enhanceYourCalm,
  "wrong-value": errorCodes.protocol,
  "window-too-large": errorCodes.flowControl,
};

export class FrameReader {
  readonly #requests: Requests;
  readonly #sender: Sender;
  readonly #control: ControlFrames;
  /** How much of the preface has come. */
  #prefaceBytes = 0;
  /** The client's first frame is its settings (§3.4). */
  #hasSettings = false;
  #fault: ErrorCode = errorCodes.none;

  constructor(requests: Requests, sender: Sender, control: ControlFrames) {
    this.#requests = requests;
    this.#sender = sender;
    this.#control = control;
  }

  /** Why the connection ends, once {@link next} has said that it does. */
  get fault(): ErrorCode {
    return this.#fault;
  }

  /**
   * The next frame, or a part of the preface.
   *
   * @returns where to go on; `"more"` where there is no whole frame
   */
  next(bytes: Buffer, at: number): number | "more" | "fault" {
    if (this.#prefaceBytes < preface.length) return this.#readPreface(bytes, at);
    const from = at + frameHeadBytes;
    if (bytes.length < from) return "more";
    const length = u24At(bytes, at);
    if (length > payloadBytesMax) return this.#fail(errorCodes.frameSize);
    const to = from + length;
    if (bytes.length < to) return "more";
    const type = bytes[at + 3] as number;
    const flagBits = bytes[at + 4] as number;
    const stream = u31At(bytes, at + 5);
    if (!this.#hasSettings) {
      const isFirst = type === frameTypes.settings && (flagBits & flags.acknowledged) === 0;
      if (!isFirst) return this.#fail(errorCodes.protocol);
      this.#hasSettings = true;
    }
    const fault = this.#readFrame(type, flagBits, stream, bytes, from, to);
    return fault === undefined ? to : this.#fail(fault);
  }

  #readPreface(bytes: Buffer, from: number): number | "fault" {
    let at = from;
    for (; at < bytes.length && this.#prefaceBytes < preface.length; at++) {
      if (bytes[at] !== preface[this.#prefaceBytes]) return this.#fail(errorCodes.protocol);
      this.#prefaceBytes++;
    }
    if (this.#prefaceBytes === preface.length) this.#control.begin();
    return at;
  }

  /** @returns why the connection ends */
  #readFrame(
    type: number,
    flagBits: number,
    stream: number,
    bytes: Buffer,
    from: number,
    to: number,
  ): ErrorCode | undefined {
    const requests = this.#requests;
    if (requests.isInBlock && type !== frameTypes.continuation) return errorCodes.protocol;
    const length = to - from;
    switch (type) {
      case frameTypes.data:
        return requests.data(flagBits, stream, bytes, from, to);
      case frameTypes.headers:
        return requests.headers(flagBits, stream, bytes, from, to);
      case frameTypes.continuation:
        return requests.continuation(flagBits, stream, bytes, from, to);
      case frameTypes.reset:
        return length === 4 ? requests.reset(stream) : errorCodes.frameSize;
      case frameTypes.windowUpdate:
        if (length !== 4) return errorCodes.frameSize;
        return this.#openWindow(stream, u31At(bytes, from));
      case frameTypes.priority:
        if (length !== 5) return errorCodes.frameSize;
        return stream === 0 || u31At(bytes, from) === stream ? errorCodes.protocol : undefined;
      case frameTypes.settings:
        if (stream !== 0) return errorCodes.protocol;
        return this.#readSettings(flagBits, bytes, from, to);
      case frameTypes.ping:
        if (length !== 8) return errorCodes.frameSize;
        if (stream !== 0) return errorCodes.protocol;
        if ((flagBits & flags.acknowledged) === 0) this.#control.acknowledgePing(bytes, from);
        return undefined;
      case frameTypes.goAway:
        if (length < 8) return errorCodes.frameSize;
        if (stream !== 0) return errorCodes.protocol;
        requests.part();
        return undefined;
      case frameTypes.pushPromise:
        return errorCodes.protocol;
      default:
        // Unknown ones are ignored (§4.1).
        return undefined;
    }
  }

  #readSettings(flagBits: number, bytes: Buffer, from: number, to: number): ErrorCode | undefined {
    if ((flagBits & flags.acknowledged) !== 0) {
      return from === to ? undefined : errorCodes.frameSize;
    }
    const settings = readSettings(bytes, from, to);
    if (typeof settings === "string") return settingsFaultCodes[settings];
    if (settings.isTableSmaller) this.#sender.emptyTable();
    const { initialWindow } = settings;
    if (initialWindow !== undefined && !this.#requests.changeWindows(initialWindow)) {
      return errorCodes.flowControl;
    }
    this.#control.acknowledgeSettings();
    return undefined;
  }

  #openWindow(stream: number, bytes: number): ErrorCode | undefined {
    if (stream !== 0) return this.#requests.openWindow(stream, bytes);
    if (bytes === 0) return errorCodes.protocol;
    return this.#sender.openWindow(bytes) ? undefined : errorCodes.flowControl;
  }

  #fail(code: ErrorCode): "fault" {
    this.#fault = code;
    return "fault";
  }
}
