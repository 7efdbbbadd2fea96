import { expect, test } from "bun:test";
import type { Change } from "./changes.ts";
import { LiveJournal } from "./live-journal.ts";
import { createEntry, type Entry, type LiveRegistry } from "./live-registry.ts";
import type { LiveStore, LogPart, LogRecord } from "./live-store.ts";
import type { Subscription } from "./subscription.ts";

/** A store whose disk may be full: then nothing of a transaction is written. */
function open(logCharsMax: number) {
  const written: string[] = [];
  let pending: string[] = [];
  let seq = 0;
  const disk = { isFull: false };
  const store = {
    within(use: () => void): void {
      pending = [];
      use();
      if (disk.isFull) throw new Error("database or disk is full");
      written.push(...pending);
    },
    save: (ord: number, { history }: Subscription) =>
      pending.push(`save ${ord} as of ${history.lastId}`),
    remove: (ord: number) => pending.push(`remove ${ord}`),
    trim: (last: number) => pending.push(`trim ${last}`),
    append(parts: readonly LogPart[]): LogRecord {
      pending.push(`append ${parts.map(({ ord, lastChangeId }) => `${ord}:${lastChangeId}`)}`);
      return { seq: ++seq, chars: 100, parts };
    },
  };
  const entries = new Map<number, Entry>();
  const registry = { byOrd: (ord: number) => entries.get(ord) } as unknown as LiveRegistry;
  const journal = new LiveJournal(store as unknown as LiveStore, registry, logCharsMax);
  /** What histories were told to drop. */
  const forgotten: string[] = [];
  const create = (ord: number): { entry: Entry; history: { lastId: number } } => {
    const dropThrough = (id: number): unknown => forgotten.push(`${ord} through ${id}`);
    const history = { lastId: 0, dropThrough };
    const entry = createEntry({ rowCount: 1, history } as unknown as Subscription, ord);
    entries.set(ord, entry);
    journal.created(entry);
    return { entry, history };
  };
  /** Tells so many changes of one. */
  const tell = ({ entry, history }: ReturnType<typeof create>, count: number): void => {
    journal.record([{ kind: "changes", entry, changes: new Array<Change>(count) }]);
    history.lastId += count;
  };
  const keepUp = (): string[] => {
    journal.keepUp();
    return written.splice(0);
  };
  return { journal, disk, create, tell, keepUp, written, forgotten };
}

test("what couldn't be saved is tried again with the next that is, and is never taken for saved", () => {
  const { journal, disk, create, keepUp } = open(1000);
  const { entry } = create(1);
  disk.isFull = true;
  expect([keepUp(), entry.savedChangeId, journal.isBehind]).toEqual([[], undefined, false]);
  disk.isFull = false;
  create(2);
  expect(keepUp()).toEqual(["save 2 as of 0"]);
  expect(journal.isBehind).toBe(true);
  expect(keepUp()).toEqual(["save 1 as of 0"]);
  expect([entry.savedChangeId, journal.isBehind]).toEqual([0, false]);
});

// Whoever asks is asked again in the next turn of the event loop, for as long as it is behind.
test("on a full disk it doesn't try again without end what it is to remove or to cut", () => {
  const { journal, disk, create, tell, keepUp } = open(50);
  const [one, two] = [create(1), create(2)];
  expect(keepUp()).toEqual(["save 1 as of 0", "save 2 as of 0"]);
  tell(two, 1);
  disk.isFull = true;
  journal.dropped(one.entry);
  expect([journal.isBehind, keepUp(), journal.isBehind]).toEqual([true, ["append 2:1"], false]);
  // Something else is to be written, and later something was.
  create(3);
  expect([journal.isBehind, keepUp(), journal.isBehind]).toEqual([true, [], false]);
  disk.isFull = false;
  tell(two, 1);
  expect(journal.isBehind).toBe(true);
  expect(keepUp()).toEqual(["append 2:2", "remove 1", "save 2 as of 2", "trim 2"]);
});

test("what couldn't be saved is saved at the end, and what is gone is removed", () => {
  const { journal, disk, create, keepUp, written } = open(1000);
  const [one, , three] = [create(1), create(2), create(3)];
  keepUp();
  create(4);
  disk.isFull = true;
  keepUp();
  disk.isFull = false;
  journal.dropped(one.entry);
  journal.dropped(three.entry);
  journal.close();
  expect(written).toEqual(["remove 1", "remove 3", "save 4 as of 0"]);
});

test("one that is gone before it was saved never is", () => {
  const { journal, disk, create, keepUp, written } = open(1000);
  journal.dropped(create(1).entry);
  expect([journal.isBehind, keepUp()]).toEqual([false, []]);
  const two = create(2);
  disk.isFull = true;
  keepUp();
  journal.dropped(two.entry);
  disk.isFull = false;
  create(3);
  expect([keepUp(), journal.isBehind]).toEqual([["save 3 as of 0"], false]);
  journal.close();
  expect(written).toEqual([]);
});

test("one that isn't saved yet is, before its first change is written down", () => {
  const { disk, create, tell, written, keepUp } = open(1000);
  const one = create(1);
  disk.isFull = true;
  expect(() => tell(one, 2)).toThrow("full");
  expect(one.entry.savedChangeId).toBeUndefined();
  disk.isFull = false;
  tell(one, 2);
  expect(written.splice(0)).toEqual(["save 1 as of 0", "append 1:2"]);
  expect(keepUp()).toEqual([]);
});

test("before a record is dropped its changes stand in saved rows, also where that failed once", () => {
  const { journal, disk, create, tell, keepUp, forgotten } = open(250);
  const [one, two] = [create(1), create(2)];
  keepUp();
  tell(one, 3);
  tell(two, 1);
  expect([keepUp(), journal.logChars]).toEqual([["append 1:3", "append 2:1"], 200]);
  tell(two, 1);
  disk.isFull = true;
  keepUp();
  expect([one.entry.savedChangeId, journal.logChars]).toEqual([0, 300]);
  disk.isFull = false;
  expect(keepUp()).toEqual(["save 1 as of 3", "trim 1"]);
  expect([one.entry.savedChangeId, two.entry.savedChangeId]).toEqual([3, 0]);
  expect([journal.logChars, journal.isBehind]).toEqual([200, false]);
  // Readers who come back are told as much as after a restart.
  expect(forgotten).toEqual(["1 through 3"]);
});

test("what stands in saved rows is dropped without their being saved again", () => {
  const { create, tell, keepUp } = open(150);
  const one = create(1);
  keepUp();
  tell(one, 1);
  tell(one, 1);
  expect(keepUp()).toEqual(["append 1:1", "append 1:2", "save 1 as of 2", "trim 1"]);
  const two = create(2);
  tell(two, 1);
  expect(keepUp()).toEqual(["save 2 as of 0", "append 2:1", "trim 2"]);
});

test("a large one that was told something while its image was made isn't saved as it was before", async () => {
  const { journal, create, tell, written } = open(1000);
  const large = create(1);
  const rows = function* () {
    for (let i = 0; i < 2000; i++) yield { identity: "", row: { rowId: i, cells: "[]" } };
  };
  Object.assign(large.entry.subscription, {
    rowCount: 2000,
    held: { snapshot: () => ({ count: 2000, rows }) },
  });
  const isSaved = journal.createdLarge(
    large.entry,
    () => false,
    async () => true,
  );
  tell(large, 1);
  await isSaved;
  expect(written).toEqual(["save 1 as of 0", "append 1:1"]);
});

test("nothing is dropped while somebody may want it", () => {
  const { journal, create, tell, keepUp } = open(50);
  const one = create(1);
  journal.hold(7);
  tell(one, 1);
  expect([keepUp(), journal.isBehind]).toEqual([["save 1 as of 0", "append 1:1"], false]);
  journal.release(7);
  expect([journal.isBehind, keepUp()]).toEqual([true, ["save 1 as of 1", "trim 1"]]);
});
