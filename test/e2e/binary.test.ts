/**
 * The executable itself: what it has inside, and what it doesn't take from where it is started.
 *
 * @module
 */

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { buildDefaults, buildExecutable } from "../../agent/build.ts";
import { testIf } from "../real.ts";
import { hideTree, missingHiding, unshareOptions } from "./hidden-tree.ts";

const repository = resolve(import.meta.dir, "../..");
let folder: string;
let binary: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patina-binary-"));
  const result = await buildExecutable({
    ...buildDefaults,
    entry: join(import.meta.dir, "binary-entry.ts"),
    outfile: join(folder, "built", "patina"),
  });
  if (result.kind === "failed") throw new Error(result.why);
  binary = result.outfile;
}, 120_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

/** A folder whose `.env` and `bunfig.toml` would show if they were read. */
async function trap(name: string): Promise<string> {
  const path = join(folder, name);
  await mkdir(path);
  await writeFile(join(path, ".env"), "PATINA_LEAK=dotenv\n");
  await writeFile(join(path, "bunfig.toml"), 'preload = ["./preload.js"]\n');
  await writeFile(join(path, "preload.js"), 'require("fs").writeFileSync("ran", "");\n');
  return path;
}

async function run(command: string[], cwd: string): Promise<{ stdout: string; exitCode: number }> {
  const child = Bun.spawn(command, { cwd, stdout: "pipe", stderr: "inherit", env: {} });
  const stdout = await new Response(child.stdout).text();
  return { stdout, exitCode: await child.exited };
}

test("neither .env nor bunfig.toml of its folder is read", async () => {
  const cwd = await trap("trap");
  expect(await run([binary, "environment"], cwd)).toEqual({
    stdout: '{"leak":null}\n',
    exitCode: 0,
  });
  expect(existsSync(join(cwd, "ran"))).toBe(false);
});

test("an executable built with Bun's defaults does read them: the test above can fail", async () => {
  const outfile = join(folder, "careless", "patina");
  await Bun.build({
    entrypoints: [join(import.meta.dir, "binary-entry.ts")],
    target: "bun",
    external: ["../../agent/*"],
    compile: { outfile },
  });
  const cwd = await trap("careless-trap");
  const { stdout } = await run([outfile, "environment"], cwd);
  expect(stdout).toBe('{"leak":"dotenv"}\n');
  expect(existsSync(join(cwd, "ran"))).toBe(true);
}, 120_000);

test("a failed build leaves no file, not even the one before", async () => {
  const outfile = join(folder, "failing", "patina");
  const entry = join(folder, "entry.ts");
  const build = () => buildExecutable({ ...buildDefaults, entry, workers: [], outfile });
  await writeFile(entry, "console.log(1);\n");
  expect(await build()).toMatchObject({ kind: "built" });
  await writeFile(entry, 'import "./not-there.ts";\n');
  expect(await build()).toMatchObject({ kind: "failed" });
  expect(await readdir(join(folder, "failing"))).toEqual([]);
}, 120_000);

test("no addon but sodium-native's gets in", async () => {
  await copyFile(sodiumAddon(), join(folder, "other.node"));
  const entry = join(folder, "with-addon.ts");
  await writeFile(entry, 'console.log(require("./other.node"));\n');
  const outfile = join(folder, "with-addon", "patina");
  const result = await buildExecutable({ ...buildDefaults, entry, workers: [], outfile });
  expect(result).toEqual({
    kind: "failed",
    why: expect.stringContaining("native addon: only sodium-native's, got "),
  });
});

test("cbor-extract is the empty package, and none of its addons is there to load", async () => {
  const installed = await readFile(join(repository, "node_modules/cbor-extract/index.js"), "utf8");
  expect(installed).toBe(
    await readFile(join(repository, "agent/no-cbor-extract/index.js"), "utf8"),
  );
  expect(existsSync(join(repository, "node_modules/@cbor-extract"))).toBe(false);
  expect(await run([process.execPath, "-e", probe], repository)).toMatchObject({ stdout: "[]\n" });
});

/** Prints the addons that are loaded after the codec has decoded text, which is when it would use one. */
const probe = `
  const { Encoder, Decoder } = await import("cbor-x");
  new Decoder().decode(new Encoder().encode({ text: "a".repeat(100), list: ["b", "c"] }));
  const maps = require("fs").readFileSync("/proc/self/maps", "utf8");
  console.log(JSON.stringify([...new Set(maps.match(/\\S*cbor\\S*\\.node/g) ?? [])]));
`;

function sodiumAddon(): string {
  const prebuilds = join(repository, "node_modules/sodium-native/prebuilds");
  return join(prebuilds, `${process.platform}-${process.arch}`, "sodium-native.node");
}

test("sodium-native's addon is inside, byte for byte", async () => {
  const [inside, addon] = [await readFile(binary), await readFile(sodiumAddon())];
  expect(inside.includes(addon)).toBe(true);
});

testIf(
  missingHiding(),
  "with its build tree hidden it still starts nets that find each other",
  async () => {
    const alone = join(folder, "alone");
    await mkdir(alone);
    await copyFile(binary, join(alone, "patina"));
    // The hiding itself: nothing of the repository can be seen.
    const listed = await run(hideTree(["sh", "-c", `ls ${repository} | wc -l`]), alone);
    expect(listed.stdout.trim()).toBe("0");
    const ran = await run(hideTree([join(alone, "patina"), "net"]), alone);
    expect(ran).toEqual({ stdout: "connected\n", exitCode: 0 });
  },
  120_000,
);

test("a net thread that dies in the executable is back on its port", async () => {
  const stdout = "connected\ncrashed 1, same port true\n";
  expect(await run([binary, "crash"], folder)).toEqual({ stdout, exitCode: 0 });
}, 120_000);

testIf(
  missingHiding(),
  "where /tmp is mounted noexec libsodium is loaded from another folder",
  async () => {
    const hardened = (noexec: string, command: string[]) => [
      "unshare",
      unshareOptions,
      "sh",
      "-c",
      'for at in $1; do mount -t tmpfs -o noexec none $at || exit 99; done; shift; exec "$@"',
      "sh",
      noexec,
      ...command,
    ];
    // Out of /tmp, which is covered.
    const elsewhere = await mkdtemp(join("/var/tmp", "patina-binary-"));
    try {
      await copyFile(binary, join(elsewhere, "patina"));
      const patina = join(elsewhere, "patina");
      const connected = { stdout: "connected\n", exitCode: 0 };
      expect(await run(hardened("/tmp", [patina, "net"]), "/")).toEqual(connected);
      expect(await run(hardened("/tmp /dev/shm", [patina, "net", elsewhere]), "/")).toEqual(
        connected,
      );
      expect(await run(hardened("/tmp /dev/shm", [patina, "net"]), "/")).toEqual({
        stdout: expect.stringMatching(
          /\/tmp is mounted noexec, and \/dev\/shm is mounted noexec\. Set BUN_TMPDIR to a folder/,
        ),
        exitCode: 6,
      });
    } finally {
      await rm(elsewhere, { recursive: true, force: true });
    }
  },
  120_000,
);
