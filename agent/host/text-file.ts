/**
 * Text files that people write: configuration and schema. A device or a log that was named by mistake is refused, and doesn't
 * fill the memory.
 *
 * @module
 */

import { isUtf8 } from "node:buffer";
import { closeSync, openSync, readSync } from "node:fs";

const bytesMax = 16 * 1024 * 1024;
const chunkBytes = 64 * 1024;

/** A pipe will do. @throws with the reason: what the system says, too large, no UTF-8 (it would be another text elsewhere) */
export function readTextFile(path: string): string {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const fd = openSync(path, "r");
  try {
    for (;;) {
      const chunk = new Uint8Array(chunkBytes);
      const read = readSync(fd, chunk);
      if (read === 0) break;
      bytes += read;
      if (bytes > bytesMax) throw new Error(`it is larger than ${bytesMax} bytes`);
      chunks.push(chunk.subarray(0, read));
    }
  } finally {
    closeSync(fd);
  }
  const whole = Buffer.concat(chunks);
  if (!isUtf8(whole)) throw new Error("it is not UTF-8");
  return whole.toString();
}
