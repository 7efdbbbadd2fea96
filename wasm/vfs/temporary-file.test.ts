import { expect, test } from "bun:test";
import fc from "fast-check";
import { TemporaryFile } from "./temporary-file.ts";

// Its pieces are of no concern to who reads and writes.
test("it is what a plain array of bytes would be", () => {
  const offset = fc.oneof(
    fc.nat(700_000),
    fc.nat(20).map((n) => 256 * 1024 - 10 + n),
  );
  const step = fc.oneof(
    fc.record({ write: fc.uint8Array({ minLength: 1, maxLength: 40 }), offset }),
    fc.record({ large: fc.integer({ min: 1, max: 600_000 }), offset }),
    fc.record({ truncate: offset }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const file = new TemporaryFile();
      let model = new Uint8Array(0);
      for (const one of steps) {
        if ("truncate" in one) {
          file.xTruncate(one.truncate);
          model = model.slice(0, one.truncate);
          continue;
        }
        const bytes = "write" in one ? one.write : new Uint8Array(one.large).fill(7);
        const heap = Buffer.concat([Buffer.alloc(3), bytes]);
        file.xWrite(heap, 3, bytes.length, one.offset);
        const grown = new Uint8Array(Math.max(model.length, one.offset + bytes.length));
        grown.set(model);
        grown.set(bytes, one.offset);
        model = grown;
      }
      expect(file.xFileSize()).toBe(model.length);
      const heap = new Uint8Array(model.length + 105);
      expect(file.xRead(heap, 5, model.length + 100, 0)).toBe(model.length);
      expect(Buffer.from(heap.subarray(5, 5 + model.length)).equals(model)).toBe(true);
      file.xClose();
      expect(file.xFileSize()).toBe(0);
    }),
    { numRuns: 200 },
  );
});

test("all of a thread's together have a bound, and what is closed counts no more", () => {
  const heap = new Uint8Array(1);
  const files = Array.from({ length: 3 }, () => new TemporaryFile());
  const [first, second, third] = files as [TemporaryFile, TemporaryFile, TemporaryFile];
  const most = 256 * 1024 * 1024 - 256 * 1024;
  first.xWrite(heap, 0, 1, most - 1);
  second.xWrite(heap, 0, 1, 0);
  expect(() => third.xWrite(heap, 0, 1, 0)).toThrow("temporary files may take 268435456 bytes");
  first.xClose();
  third.xWrite(heap, 0, 1, 0);
  for (const file of files) file.xClose();
});
