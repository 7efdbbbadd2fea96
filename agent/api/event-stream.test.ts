import { expect, test } from "bun:test";
import { EventStream } from "./event-stream.ts";
import { UnreadRoom } from "./unread-room.ts";

const kilobyte = 1024;
const lines = (kilobytes: number, isSnapshot = true) =>
  ({
    kind: "lines",
    bytes: new Uint8Array(kilobytes * kilobyte).fill(0x78),
    isSnapshot,
  }) as const;

function open(room: UnreadRoom) {
  const gone = new AbortController();
  let ends = 0;
  const stream = new EventStream(1000 * kilobyte, room, gone.signal, () => ends++);
  return { stream, gone, reading: stream[Symbol.asyncIterator](), ends: () => ends };
}

const text = (result: IteratorResult<Uint8Array>) => Buffer.from(result.value).toString();

test("what waits is handed on in pieces, and counts until more is asked for", async () => {
  const room = new UnreadRoom(600 * kilobyte);
  const { stream, reading } = open(room);
  for (let i = 0; i < 10; i++) stream.push(lines(100));
  expect(room.isFull).toBe(true);
  const lengths: number[] = [];
  for (let i = 0; i < 5; i++) lengths.push(((await reading.next()).value?.length ?? 0) / kilobyte);
  expect(lengths).toEqual([200, 200, 200, 200, 200]);
  expect([stream.unreadBytes, room.isFull]).toEqual([200 * kilobyte, false]);
  void reading.next();
  expect(stream.unreadBytes).toBe(0);
});

test("while too much is unread nobody else is let in, and who reads nothing is let go", async () => {
  const room = new UnreadRoom(600 * kilobyte, 1000);
  const slow = open(room);
  const quick = open(room);
  slow.stream.push(lines(100));
  quick.stream.push(lines(100));
  for (let i = 0; i < 6; i++) slow.stream.push(lines(100));
  expect(room.mayEnter(performance.now())).toBe(false);
  while (performance.now() - slow.stream.idleSinceMs < 2) await Bun.sleep(1);
  // One that reads a little is on its way.
  await quick.reading.next();
  expect(room.mayEnter(slow.stream.idleSinceMs + 1001)).toBe(true);
  expect([slow.ends(), quick.ends()]).toEqual([1, 0]);
  expect(text(await slow.reading.next())).toBe(
    '{"error":"too slow: nothing was read for 1000 ms, and others wait"}\n',
  );
  expect((await slow.reading.next()).done).toBe(true);
});

test("who was let in before there was no room is turned away with its first line, and not later", () => {
  const room = new UnreadRoom(100 * kilobyte);
  const [first, second, third] = [open(room), open(room), open(room)];
  third.stream.push(lines(1));
  void third.reading.next();
  void third.reading.next();
  first.stream.push(lines(200));
  second.stream.push(lines(1));
  third.stream.push(lines(1));
  expect([first, second, third].map(({ stream }) => stream.isTurnedAway)).toEqual([
    false,
    true,
    false,
  ]);
  expect([first.ends(), second.ends(), third.ends()]).toEqual([0, 1, 0]);
});

test("events have a smaller bound while too much is unread", async () => {
  const room = new UnreadRoom(500 * kilobyte);
  const one = open(room);
  one.stream.push(lines(200, false));
  one.stream.push(lines(200, false));
  expect(one.ends()).toBe(0);
  const other = open(room);
  other.stream.push(lines(200));
  one.stream.push(lines(1, false));
  expect([one.ends(), other.ends()]).toEqual([1, 0]);
  // What was queued is still there, and the reason after it.
  let all = "";
  for await (const chunk of { [Symbol.asyncIterator]: () => one.reading })
    all += text({ value: chunk });
  expect(all.length).toBeGreaterThan(400 * kilobyte);
  expect(all).toEndWith('of events were waiting to be read; ask anew"}\n');
});

test("a client that goes takes nothing along, whatever was queued for it", async () => {
  const room = new UnreadRoom(100 * kilobyte);
  const { stream, gone, ends } = open(room);
  stream.push(lines(200));
  gone.abort();
  expect([room.isFull, stream.unreadBytes, ends()]).toEqual([false, 0, 1]);
});

test("one that has ended and isn't read any more is cut, not ended", async () => {
  const room = new UnreadRoom(100 * kilobyte, -1);
  const { stream, reading } = open(room);
  stream.push(lines(200));
  stream.push({ kind: "end", isCut: false });
  expect(room.mayEnter(performance.now())).toBe(true);
  expect(reading.next()).rejects.toThrow();
});

test("what a carrier was handed counts until it is taken, and one that takes nothing any more is cut off with it", async () => {
  const room = new UnreadRoom(100 * kilobyte, 1000);
  const { stream, reading, ends } = open(room);
  let cuts = 0;
  stream.onCut(() => cuts++);
  stream.push(lines(200));
  stream.push(lines(200));
  await reading.next();
  // What it was handed is held for it still.
  expect(room.mayEnter(stream.idleSinceMs + 1001)).toBe(false);
  expect(ends()).toBe(1);
  expect(stream.unreadBytes).toBeGreaterThan(200 * kilobyte);
  expect(stream.unreadBytes).toBeLessThan(201 * kilobyte);
  // It has as long again to come to the line that says why.
  expect(room.mayEnter(stream.idleSinceMs + 999)).toBe(false);
  await Promise.resolve();
  expect(cuts).toBe(0);
  expect(room.mayEnter(stream.idleSinceMs + 1001)).toBe(true);
  await Promise.resolve();
  expect([cuts, stream.unreadBytes]).toEqual([1, 0]);
  expect(reading.next()).rejects.toThrow();
});

test("one that has read all is let go for nobody, however long it has been silent", async () => {
  const room = new UnreadRoom(100 * kilobyte, 1000);
  const silent = open(room);
  silent.stream.push(lines(1));
  await silent.reading.next();
  void silent.reading.next();
  const other = open(room);
  other.stream.push(lines(200));
  expect(room.mayEnter(silent.stream.idleSinceMs + 60_000)).toBe(true);
  expect([silent.ends(), other.ends()]).toEqual([0, 1]);
});
