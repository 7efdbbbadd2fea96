/**
 * What a client sets (RFC 9113 §6.5): of each setting the last counts. Its limit for header lists is advice that
 * we never come near to; unknown settings are ignored.
 *
 * | offset | bytes | of each setting |
 * | ------ | ----- | --------------- |
 * | 0      | 2     | identifier      |
 * | 2      | 4     | value           |
 *
 * @module
 */

import { settingIds, u32At, windowBytesMax } from "./frames.ts";
import { tableBytesMax } from "./hpack-decoder.ts";

export interface PeerSettings {
  /** Of new streams, and by how much the windows of others change; undefined: as it was. */
  readonly initialWindow: number | undefined;
  /** The client keeps a smaller table than it does by default. */
  readonly isTableSmaller: boolean;
}

export type SettingsFault = "wrong-size" | "too-many" | "wrong-value" | "window-too-large";

const settingBytes = 6;
/** Of one frame. There are seven, and nobody sets one twice in earnest. */
const settingsMax = 32;

export function readSettings(
  bytes: Uint8Array,
  from: number,
  to: number,
): PeerSettings | SettingsFault {
  const length = to - from;
  if (length % settingBytes !== 0) return "wrong-size";
  if (length > settingsMax * settingBytes) return "too-many";
  let initialWindow: number | undefined;
  let isTableSmaller = false;
  for (let at = from; at < to; at += settingBytes) {
    const value = u32At(bytes, at + 2);
    switch (((bytes[at] as number) << 8) | (bytes[at + 1] as number)) {
      case settingIds.headerTableSize:
        isTableSmaller ||= value < tableBytesMax;
        break;
      case settingIds.enablePush:
        if (value > 1) return "wrong-value";
        break;
      case settingIds.initialWindowSize:
        if (value > windowBytesMax) return "window-too-large";
        initialWindow = value;
        break;
      case settingIds.frameSizeMax:
        if (value < 2 ** 14 || value >= 2 ** 24) return "wrong-value";
        break;
    }
  }
  return { initialWindow, isTableSmaller };
}
