import { expect, test } from "bun:test";
import {
  SQLITE_CONSTRAINT,
  SQLITE_FULL,
  SQLITE_IOERR_NOMEM,
  SQLITE_IOERR_WRITE,
} from "../../wasm/constants.ts";
import { SqliteError } from "../../wasm/error.ts";
import { WriteFailures } from "./write-failures.ts";

test("a write that the disk refused is told until one succeeds, or for a minute", () => {
  const failures = new WriteFailures();
  failures.failed(new SqliteError(SQLITE_FULL, "database or disk is full"), 1000);
  expect(failures.why(61_000)).toBe("store: database or disk is full");
  expect(failures.why(61_001)).toBeUndefined();
  failures.failed(new SqliteError(SQLITE_IOERR_WRITE, "disk I/O error"), 70_000);
  expect(failures.why(70_000)).toBe("store: disk I/O error");
  failures.committed();
  expect(failures.why(70_000)).toBeUndefined();
});

test("what a statement is refused for is no failure of the disk", () => {
  const failures = new WriteFailures();
  for (const error of [
    new SqliteError(SQLITE_CONSTRAINT, "UNIQUE constraint failed"),
    new SqliteError(SQLITE_IOERR_NOMEM, "out of memory"),
    new Error("a fault"),
  ]) {
    failures.failed(error, 0);
    expect(failures.why(0)).toBeUndefined();
  }
});
