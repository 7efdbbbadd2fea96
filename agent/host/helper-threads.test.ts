import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HelperThreads, helperNiceness } from "./helper-threads.ts";

test("the engine's helpers are made nicer, each once, and no other thread is", () => {
  const folder = mkdtempSync(join(tmpdir(), "patina-threads-"));
  const begin = (thread: number, name: string) => {
    mkdirSync(join(folder, String(thread)));
    writeFileSync(join(folder, String(thread), "comm"), `${name}\n`);
  };
  const end = (thread: number) => rmSync(join(folder, String(thread)), { recursive: true });
  const nicer: number[] = [];
  try {
    const makeNicer = (thread: number) => {
      nicer.push(thread);
    };
    const helpers = new HelperThreads({ withPool: false, folder, makeNicer });
    begin(100, "patina");
    begin(101, "JITWorker");
    begin(102, "HeapHelper");
    begin(103, "t Helper Thread");
    begin(104, "patina net");
    begin(106, "Bun Pool 1");
    helpers.look();
    expect(nicer.sort()).toEqual([101, 103]);
    helpers.look();
    begin(105, "JITWorker");
    end(101);
    helpers.look();
    // The same number, and another thread.
    begin(101, "mi-scavenger");
    helpers.look();
    expect(nicer).toEqual([101, 103, 105, 101]);
    nicer.length = 0;
    new HelperThreads({ withPool: true, folder, makeNicer }).look();
    expect(nicer.sort()).toEqual([101, 103, 105, 106]);
    end(104);
    rmSync(folder, { recursive: true });
    helpers.look();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Waits for a helper of its own, and prints the niceness of its first thread and of theirs. */
const waiting = `
  const { readdirSync, readFileSync } = require("node:fs");
  const os = require("node:os");
  const { helperNames, HelperThreads } = await import(process.argv[1]);
  const nameOf = (thread) => readFileSync("/proc/self/task/" + thread + "/comm", "utf8").trimEnd();
  const theirs = () => readdirSync("/proc/self/task").filter((thread) => helperNames.has(nameOf(thread)));
  const endMs = performance.now() + 60_000;
  while (theirs().length === 0 && performance.now() < endMs) {
    for (let i = 0, kept = []; i < 1000; i++) kept.push(new Uint8Array(5000));
    await Bun.sleep(5);
  }
  new HelperThreads({ withPool: false }).look();
  console.log(JSON.stringify([os.getPriority(), ...theirs().map((thread) => os.getPriority(Number(thread)))]));
`;

test("in a real process there are some", async () => {
  if (process.platform !== "linux") return;
  const module = join(import.meta.dir, "helper-threads.ts");
  const child = Bun.spawn([process.execPath, "-e", waiting, module], { stdout: "pipe" });
  const [own, ...theirs] = JSON.parse(await new Response(child.stdout).text()) as number[];
  const nicer = Math.min(19, (own as number) + helperNiceness);
  expect(theirs.length).toBeGreaterThan(0);
  expect(theirs).toEqual(theirs.map(() => nicer));
});
