import { afterEach, beforeEach, expect, test } from "bun:test";
import {
  cpSync,
  linkSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PatinaClient } from "../../agent/client/client.ts";
import { startTestAgent, type TestAgent } from "../agent-process.ts";
import { until } from "../until.ts";

let folder: string;
let agent: TestAgent | undefined;

const start = async (): Promise<TestAgent> => {
  agent = await startTestAgent({ folder });
  return agent;
};

const ids = async ({ socket }: TestAgent) => {
  const { rows } = await new PatinaClient(socket).query("SELECT id FROM t ORDER BY id");
  return rows.flat();
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-lost-"));
  writeFileSync(join(folder, "schema.sql"), "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY);\n");
});

afterEach(async () => {
  await agent?.stop();
  agent = undefined;
  rmSync(folder, { recursive: true });
});

test("a socket that is deleted is put there again, and who was connected stays so", async () => {
  const { socket, log } = await start();
  const client = new PatinaClient(socket);
  const ended = new AbortController();
  const events = client.subscribe("SELECT id FROM t", { signal: ended.signal, once: true });
  expect((await events.next()).value).toMatchObject({ kind: "columns" });
  expect((await events.next()).value).toMatchObject({ kind: "end-of-rows" });
  const { mode } = statSync(socket);
  rmSync(socket);
  await until(
    "it is there again",
    async () => statSync(socket, { throwIfNoEntry: false })?.mode === mode,
    30_000,
    log,
  );
  await new PatinaClient(socket).transact("INSERT INTO t VALUES ('x')");
  expect((await events.next()).value).toMatchObject({ kind: "change", cells: ["x"] });
  ended.abort();
  expect(log()).toContain("the socket was deleted, and is there again");
}, 60_000);

test("what is put in the socket's place is told, and when it is gone the socket is there again", async () => {
  const { socket, log } = await start();
  rmSync(socket);
  writeFileSync(socket, "a file");
  const told = "something else was put at the socket's path";
  await until("it is told", async () => log().includes(told), 30_000, log);
  rmSync(socket);
  const isSocket = () => statSync(socket, { throwIfNoEntry: false })?.isSocket() === true;
  await until("it is there again", async () => isSocket(), 30_000, log);
  await new PatinaClient(socket).transact("INSERT INTO t VALUES ('x')");
  expect(log().split(told)).toHaveLength(2);
}, 90_000);

test("a second name of the database's file is told at each start, until it is gone", async () => {
  const told = "the database's file has other names (hard links)";
  const logOf = async () => {
    const { log } = await start();
    await agent?.stop();
    return log();
  };
  expect(await logOf()).not.toContain(told);
  const other = join(folder, "other.db");
  linkSync(join(folder, "data", "patina.db"), other);
  expect(await logOf()).toContain(told);
  rmSync(other);
  expect(await logOf()).not.toContain(told);
}, 60_000);

test.each([
  ["moved away", false, "it was deleted or moved while the agent ran"],
  ["replaced by an older copy", true, "another file was put in its place while the agent ran"],
])(
  "an agent whose database is %s ends rather than acknowledge what nobody would find",
  async (_, isReplaced, text) => {
    const { socket, pid, log } = await start();
    const client = new PatinaClient(socket);
    const data = join(folder, "data");
    await client.transact("INSERT INTO t VALUES ('kept')");
    if (isReplaced) cpSync(data, join(folder, "copy"), { recursive: true, filter: isFile });
    await client.transact("INSERT INTO t VALUES ('later')");
    renameSync(data, join(folder, "moved"));
    if (isReplaced) renameSync(join(folder, "copy"), data);
    await until("it has ended", async () => !isRunning(pid), 30_000, log);
    expect(log()).toContain(text);
    expect(await agent?.stop()).toBe(4);
    if (isReplaced) rmSync(data, { recursive: true });
    renameSync(join(folder, "moved"), data);
    expect(await ids(await start())).toEqual(["kept", "later"]);
  },
  60_000,
);

/** Sockets can't be copied. */
function isFile(path: string): boolean {
  return !statSync(path).isSocket();
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
