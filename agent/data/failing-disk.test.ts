/**
 * The small files of the data directory on a disk that fails, at each of its calls: an agent either starts, or says what is
 * wrong; and what it then goes by is what is on the disk.
 *
 * @module
 */

import { afterEach, beforeEach, expect, spyOn, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSecretFile } from "../host/secret-file.ts";
import { openNodeKey } from "../secrets/node-key.ts";
import { StartFailure } from "../start-failure.ts";
import { DataDirectory } from "./data-directory.ts";
import { guarded } from "./database-files.ts";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(join(tmpdir(), "patina-failing-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

const calls = [
  "mkdirSync",
  "openSync",
  "writeSync",
  "fsyncSync",
  "fdatasyncSync",
  "linkSync",
  "renameSync",
] as const;
type Call = (typeof calls)[number];

/** Stands between the code and the disk: writes down what is done to which file, and fails at one call. */
class Disk implements Disposable {
  /** "open nonce", "write nonce": without the folder. */
  readonly done: string[] = [];
  /** Of bytes that are written at a time. */
  bytesMax = Number.POSITIVE_INFINITY;
  beforeWrite: (() => void) | undefined;
  /** The next calls of this kind: how many succeed, and then one fails so. */
  fault: { call: Call; after: number; code: string } | undefined;
  readonly #paths = new Map<number, string>();
  readonly #spies: Disposable[] = [];

  constructor() {
    const real = { ...fs };
    const on = (call: Call, act: (...args: never[]) => unknown): void => {
      const tried = (...args: never[]): unknown => {
        if (this.fault?.call === call && this.fault.after-- === 0) {
          const { code } = this.fault;
          this.fault = undefined;
          throw Object.assign(new Error(`${code}: the disk fails, ${call}`), { code });
        }
        return act(...args);
      };
      this.#spies.push(spyOn(fs, call).mockImplementation(tried as never));
    };
    const name = (path: string): string =>
      path.slice(folder.length + 1).replace(/[.][0-9a-f]{8}[.]new$/, ".new");
    on("mkdirSync", (path: string, options: object) => {
      const made = real.mkdirSync(path, options as { recursive: true });
      if (made !== undefined) this.done.push(`mkdir ${name(path)}`);
      return made;
    });
    on("openSync", (path: string, ...rest: [never, never]) => {
      const fd = real.openSync(path, ...rest);
      this.#paths.set(fd, name(path));
      return fd;
    });
    on("writeSync", (fd: number, bytes: Uint8Array, at: number, length: number, to: number) => {
      this.beforeWrite?.();
      this.#note("write", fd);
      return real.writeSync(fd, bytes, at, Math.min(length, this.bytesMax), to);
    });
    on("fsyncSync", (fd: number) => {
      this.#note("sync", fd);
      real.fsyncSync(fd);
    });
    on("fdatasyncSync", (fd: number) => {
      this.#note("sync", fd);
      real.fdatasyncSync(fd);
    });
    on("linkSync", (from: string, to: string) => {
      real.linkSync(from, to);
      this.done.push(`link ${name(from)} ${name(to)}`);
    });
    on("renameSync", (from: string, to: string) => {
      real.renameSync(from, to);
      this.done.push(`rename ${name(from)} ${name(to)}`);
    });
  }

  #note(what: string, fd: number): void {
    const path = this.#paths.get(fd) as string;
    this.done.push(`${what} ${path === "" ? "." : path}`);
  }

  [Symbol.dispose](): void {
    for (const spy of this.#spies) spy[Symbol.dispose]();
  }
}

const descriptors = (): number => fs.readdirSync("/proc/self/fd").length;

interface Start {
  readonly nonce: string;
  readonly digestKey: string;
  readonly nodeKey: string;
}

/** What a start does with these files. @throws StartFailure */
async function start(): Promise<Start> {
  const directory = new DataDirectory(join(folder, "lib", "data"));
  const key = openNodeKey(join(directory.path, "node.key"));
  if (key.kind === "refused") throw new StartFailure(4, key.why);
  const digestKey = Buffer.from(directory.ownDigestKey()).toString("hex");
  const nonce = directory.renewNonce(true);
  await directory.nonceWritten();
  return { nonce, digestKey, nodeKey: key.key.publicKey };
}

const readNonce = () => new DataDirectory(join(folder, "lib", "data")).readNonce();

test("after a first start all that it made is on the disk, with its names", async () => {
  using disk = new Disk();
  await start();
  expect(disk.done).toEqual([
    "mkdir lib/data",
    "sync lib",
    "sync .",
    "write lib/data/node.key.new",
    "sync lib/data/node.key.new",
    "link lib/data/node.key.new lib/data/node.key",
    "sync lib/data",
    "write lib/data/secrets.new",
    "sync lib/data/secrets.new",
    "rename lib/data/secrets.new lib/data/secrets",
    "sync lib/data",
    "write lib/data/nonce.new",
    "sync lib/data/nonce.new",
    "rename lib/data/nonce.new lib/data/nonce",
    "sync lib/data",
  ]);
  disk.done.length = 0;
  await start();
  expect(disk.done).toEqual(["write lib/data/nonce", "sync lib/data/nonce"]);
});

test("a disk that takes a few bytes at a time gets all of them", async () => {
  using disk = new Disk();
  disk.bytesMax = 5;
  const first = await start();
  expect(readNonce()).toBe(first.nonce);
  const second = await start();
  expect(second).toEqual({ ...first, nonce: expect.not.stringMatching(first.nonce) });
  expect(readNonce()).toBe(second.nonce);
});

// Were it taken for written, a power cut could bring the database of before back to it, and stamps be given twice.
test("a nonce of which the disk takes nothing isn't written", async () => {
  const { nonce } = await start();
  using disk = new Disk();
  disk.bytesMax = 0;
  const directory = new DataDirectory(join(folder, "lib", "data"));
  expect(() => directory.renewNonce()).toThrow("the disk is full");
  expect(directory.readNonce()).toBe(nonce);
});

for (const call of calls) {
  for (const code of ["EIO", "ENOSPC"]) {
    for (const starts of [0, 1]) {
      test(`${call} fails with ${code}, at any time after ${starts} starts: nothing is known but what is written`, async () => {
        const before = descriptors();
        for (let after = 0, isHit = true; isHit; after++) {
          const known = starts === 0 ? undefined : await start();
          let started: Start | undefined;
          {
            using disk = new Disk();
            disk.fault = { call, after, code };
            try {
              started = await start();
            } catch (error) {
              expect(error).toBeInstanceOf(StartFailure);
              expect((error as Error).message).toMatch(/the disk is full|the disk fails/);
            }
            isHit = disk.fault === undefined;
          }
          const nonce = fs.existsSync(join(folder, "lib")) ? readNonce() : undefined;
          if (started !== undefined) expect(nonce).toBe(started.nonce);
          // And what is left is in nobody's way.
          const next = await start();
          const { digestKey, nodeKey } = started ?? known ?? next;
          expect(next).toMatchObject({ digestKey, nodeKey });
          expect(next.nonce).not.toBe(nonce as string);
          fs.rmSync(join(folder, "lib"), { recursive: true });
        }
        expect(descriptors()).toBe(before);
      });
    }
  }
}

// The loser read what was there of it, and said that it were to be removed; or was told to choose another name.
test.each([0, 1])(
  "of two first starts at once both have one key, whole (%i bytes written)",
  (bytes) => {
    const path = join(folder, "node.key");
    using disk = new Disk();
    disk.bytesMax = 1;
    let other: ReturnType<typeof openNodeKey> | undefined;
    let left = bytes;
    disk.beforeWrite = () => {
      if (left-- === 0) other = openNodeKey(path);
    };
    const first = openNodeKey(path);
    expect(other).toMatchObject({ kind: "key", isNew: true });
    expect(first).toEqual({ ...other, isNew: false } as never);
    expect(fs.readdirSync(folder)).toEqual(["node.key"]);
  },
);

test("another start's trial of the data directory is in nobody's way", () => {
  const path = join(folder, "data");
  const { writeFileSync } = fs;
  using _spy = spyOn(fs, "writeFileSync").mockImplementationOnce((...args) => {
    // Between this one's removing what was left of an older one, and its own.
    writeFileSync(join(path, ".probe"), "patina");
    writeFileSync(...args);
  });
  expect(new DataDirectory(path).isFull).toBe(false);
});

test.each(["EPERM", "ENOTSUP"])("a file system without links (%s) will do", (code) => {
  using disk = new Disk();
  const path = join(folder, "key");
  disk.fault = { call: "linkSync", after: 0, code };
  expect(createSecretFile(path, "secret")).toBeUndefined();
  disk.fault = { call: "linkSync", after: 0, code };
  expect(createSecretFile(path, "other")).toContain("never overwritten");
  expect(fs.readFileSync(path, "utf8")).toBe("secret");
  expect(fs.readdirSync(folder)).toEqual(["key"]);
});

test("a key or a secret that is torn is never made anew by itself, and it is said what to do", async () => {
  const { nodeKey, digestKey } = await start();
  for (const name of ["node.key", "secrets"]) {
    const path = join(folder, "lib", "data", name);
    const whole = fs.readFileSync(path, "utf8");
    for (const torn of ["", whole.slice(0, 30), `${whole.slice(0, 60)}\0\0\0\0`]) {
      fs.writeFileSync(path, torn);
      const failed = await start().catch((error) => error);
      expect(failed).toBeInstanceOf(StartFailure);
      expect(failed.message).toStartWith(
        `${path}: 64 hex digits wanted: put it back as it was, or remove it`,
      );
      expect(fs.readFileSync(path, "utf8")).toBe(torn);
    }
    fs.writeFileSync(path, whole);
  }
  expect(await start()).toMatchObject({ nodeKey, digestKey });
});

// A folder may be searched and not read, or its file system not sync folders: then nobody can do more.
test.each(["EACCES", "EPERM"])("a folder that can't be opened (%s) isn't synced", (code) => {
  using disk = new Disk();
  disk.fault = { call: "openSync", after: 1, code };
  expect(createSecretFile(join(folder, "key"), "secret")).toBeUndefined();
  expect(disk.done).toEqual(["write key.new", "sync key.new", "link key.new key"]);
});

test.each(["EINVAL", "ENOTSUP"])("a file system that syncs no folders (%s) will do", (code) => {
  using disk = new Disk();
  disk.fault = { call: "fsyncSync", after: 1, code };
  expect(createSecretFile(join(folder, "key"), "secret")).toBeUndefined();
  expect(fs.readFileSync(join(folder, "key"), "utf8")).toBe("secret");
});

test("a disk that fails to say what stands at the database's path is a reason, with the exit code of data", () => {
  const path = join(folder, "data");
  const { databasePath } = new DataDirectory(path);
  const fail = (): never => {
    const message = "EIO: i/o error, stat";
    throw Object.assign(new Error(message), { code: "EIO", syscall: "stat" });
  };
  const failureOf = (act: () => unknown): unknown => {
    try {
      return act();
    } catch (error) {
      return error;
    }
  };
  for (const call of ["lstatSync", "statSync"] as const) {
    using _fails = spyOn(fs, call).mockImplementation(fail);
    const failure = failureOf(() => new DataDirectory(path)) as StartFailure;
    expect(failure).toBeInstanceOf(StartFailure);
    expect(failure.message).toContain("the disk fails to read or to write");
  }
  const failure = failureOf(() => guarded(databasePath, fail)) as StartFailure;
  expect(failure).toBeInstanceOf(StartFailure);
  expect(failure.message).toBe(`database ${databasePath}: EIO: i/o error, stat`);
});
