/**
 * Zstandard for streams of rows, as Bun has it.
 *
 * @module
 */

import { zstdDecompressSync } from "node:zlib";
import type { ZstdCodec } from "../../core/node/options.ts";

/** 500 rows take about a third of a millisecond; higher levels gain little on blocks of that size. */
const level = 3;

export const zstd: ZstdCodec = {
  compress: (bytes) => Bun.zstdCompressSync(bytes, { level }),
  decompress(frame, bytes) {
    try {
      const out = zstdDecompressSync(frame, { maxOutputLength: Math.max(1, bytes) });
      return out.length === bytes ? new Uint8Array(out.buffer, out.byteOffset, bytes) : undefined;
    } catch {
      return undefined;
    }
  },
};
