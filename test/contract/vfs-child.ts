/**
 * The other process of `vfs.test.ts`: `bun vfs-child.ts COMMAND DATABASE`. Prints JSON lines.
 *
 * - `open`: opens the database and says what came of it.
 * - `hold`: opens it, says so, and keeps it until its standard input ends.
 * - `write`: commits rows for ever, and prints each row's number once it is committed.
 * - `fill`: commits rows until the disk is full, then says what it was told and what is left.
 *
 * @module
 */

import { openDatabase } from "../../wasm/database.ts";
import { SqliteError } from "../../wasm/error.ts";
import { FileVfs } from "../../wasm/vfs/file.ts";

const [command, path] = process.argv.slice(2) as [string, string];

function say(line: unknown): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function told(body: () => unknown): unknown {
  try {
    return body() ?? null;
  } catch (thrown) {
    if (!(thrown instanceof SqliteError)) throw thrown;
    return { code: thrown.codeName, message: thrown.message };
  }
}

const vfs = new FileVfs();
switch (command) {
  case "open":
    say(
      told(() => {
        using db = openDatabase(path, { vfs });
        return db.all("SELECT count(*) FROM t");
      }),
    );
    break;
  case "hold": {
    using db = openDatabase(path, { vfs });
    say(db.all("SELECT 1"));
    for await (const _ of Bun.stdin.stream());
    break;
  }
  case "write": {
    using db = openDatabase(path, { vfs });
    db.exec(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 50",
    );
    db.exec("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY, v)");
    for (;;) {
      db.exec("BEGIN");
      db.run("INSERT INTO t (v) VALUES (randomblob(2000))");
      db.run("INSERT INTO t (v) VALUES (NULL)");
      const last = db.lastInsertRowid;
      db.exec("COMMIT");
      say(last);
    }
  }
  case "fill": {
    using db = openDatabase(path, { vfs });
    db.exec("PRAGMA journal_mode = WAL; CREATE TABLE t (v); PRAGMA wal_autocheckpoint = 1000");
    let rows = 0;
    const failed = told(() => {
      for (;;) {
        db.run("INSERT INTO t VALUES (randomblob(20000))");
        rows += 1;
      }
    });
    say({
      failed,
      same: db.get("SELECT count(*) FROM t")?.[0] === rows,
      autocommit: db.autocommit,
    });
    break;
  }
}
