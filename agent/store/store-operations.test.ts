import { expect, spyOn, test } from "bun:test";
import type { StoreReply } from "../../core/node/border.ts";
import { memoryDisk, openThread } from "../../test/contract/live-queries-thread.ts";
import { schemaOf } from "../../test/generators/sqlite-store.ts";
import type { OperationLine } from "../operations/operations.ts";

// It said that nothing was changed, and neither the peers nor what waits in the net thread heard of the new schema.
test("a reload whose news fail says that the schema was changed, and peers hear of it", async () => {
  let text = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY);";
  const thread = openThread(() => schemaOf(text), memoryDisk(), {});
  const posted: StoreReply[] = [];
  thread.start({ post: (reply) => posted.push(reply) });
  text = "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, n INTEGER);";
  posted.length = 0;
  const lines: OperationLine[] = [];
  {
    using _spy = spyOn(thread.service, "schemaChanged").mockImplementation(() => {
      throw new Error("disk I/O error");
    });
    for await (const line of thread.reload()) lines.push(line);
  }
  expect(lines).toEqual([
    {
      error:
        "the database is as the schema files say, but this agent fails to go by it (disk I/O error): reload again, or restart it",
    },
  ]);
  const shapes = posted.flatMap((reply) => (reply.kind === "identity" ? [reply.schema] : []));
  expect(shapes).toEqual([schemaOf(text).shapes]);
  // What could have helped: all of it is told again.
  const told = spyOn(thread.service, "schemaChanged");
  const again = await Array.fromAsync(thread.reload());
  expect(again).toMatchObject([{ done: { statements: [] } }]);
  expect(told).toHaveBeenCalledTimes(1);
  thread.stop();
});
