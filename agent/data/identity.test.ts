import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import * as fs from "node:fs";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createOwnTables, writeState } from "../../core/store/file/file-header.ts";
import { testIf } from "../../test/real.ts";
import { openDatabase } from "../../wasm/database.ts";
import { MemoryVfs } from "../../wasm/vfs/memory.ts";
import { claimSocketPath } from "../api/socket-path.ts";
import { createClusterFile, readClusterFile, topicOf } from "../secrets/cluster-file.ts";
import { createNodeKey, keyOfSeed, openNodeKey } from "../secrets/node-key.ts";
import { DataDirectory } from "./data-directory.ts";
import { newSite, previousSite, recordStart, recordStop, wasCutOff } from "./site-identity.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-identity-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("a cluster's file", () => {
  test("is made once, for its owner alone, and reads back", () => {
    const path = join(folder, "cluster.toml");
    const made = createClusterFile(path, "prod");
    expect(made).toEqual(readClusterFile(path));
    expect(made.kind === "cluster" && made.cluster.name).toBe("prod");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(createClusterFile(path, "prod")).toMatchObject({ kind: "refused" });
    expect(made).toEqual(readClusterFile(path));
  });

  test("is refused when others can read it, when it isn't there and when it is damaged", () => {
    const path = join(folder, "cluster.toml");
    const why = () => {
      const read = readClusterFile(path);
      return read.kind === "refused" ? read.why : "";
    };
    expect(why()).toContain("patina cluster init");
    createClusterFile(path, "prod");
    chmodSync(path, 0o640);
    expect(why()).toContain(`others can read it (mode 0640): chmod 600 ${path}`);
    chmodSync(path, 0o600);
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace("version = 1", "version = 2"));
    expect(why()).toContain("version 1 wanted, got 2");
    writeFileSync(path, text.replace(/digest_key = "../, 'digest_key = "'));
    expect(why()).toContain("digest_key: 64 hex digits wanted");
    writeFileSync(path, "version = 1\nname = ");
    expect(why()).toContain("line 2, column ");
  });

  test("says where its members meet by its id alone", () => {
    expect(Buffer.from(topicOf("00".repeat(16))).toString("hex")).toBe(
      new Bun.CryptoHasher("sha256")
        .update(Buffer.concat([Buffer.from("patina topic 1"), Buffer.alloc(16)]))
        .digest("hex"),
    );
  });
});

describe("a node's key", () => {
  // RFC 8032, 7.1, test 1.
  test("is Ed25519's for its seed", () => {
    const seed = Buffer.from(
      "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
      "hex",
    );
    expect(keyOfSeed(seed).publicKey).toBe(
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    );
  });

  test("is made at the first start and stays", () => {
    const path = join(folder, "node.key");
    const first = openNodeKey(path);
    const second = openNodeKey(path);
    expect(first).toMatchObject({ kind: "key", isNew: true });
    expect(second).toEqual({ ...first, isNew: false } as never);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(createNodeKey(path)).toMatchObject({ kind: "refused" });
    chmodSync(path, 0o644);
    expect(openNodeKey(path)).toMatchObject({ kind: "refused" });
    chmodSync(path, 0o600);
    writeFileSync(path, "short");
    expect(openNodeKey(path)).toMatchObject({ kind: "refused" });
  });
});

describe("the site", () => {
  const here = { machine: "m", file: "1:2", born: "7", isBornKnown: true, nonce: "old", boot: "b" };

  function start(clean: boolean) {
    const database = openDatabase("/x.db", { vfs: new MemoryVfs() });
    createOwnTables(database);
    const site = newSite("00".repeat(32));
    expect(recordStart(database, here, "new")).toBe(1);
    if (clean) recordStop(database);
    return { database, site };
  }
  const next = { ...here, nonce: "new" };

  test("is a new one each time", () => {
    expect(newSite("00".repeat(32))).toMatch(/^[0-9a-f]{32}$/);
    expect(newSite("00".repeat(32))).not.toBe(newSite("00".repeat(32)));
  });

  test("stays over an orderly stop, a crash of the agent, and an orderly boot", () => {
    for (const clean of [true, false]) {
      const { database, site } = start(clean);
      expect(previousSite(database, site, next)).toEqual({ site });
      const rebooted = previousSite(database, site, { ...next, boot: "later" });
      expect(rebooted).toEqual(
        clean ? { site } : { newBecause: "the machine went down while the agent ran" },
      );
    }
  });

  test("remembers whether it was stopped", () => {
    expect(wasCutOff(start(true).database)).toBe(false);
    const { database } = start(false);
    expect(wasCutOff(database)).toBe(true);
    recordStop(database);
    expect(wasCutOff(database)).toBe(false);
  });

  test.each([
    ["another machine", { machine: "n" }],
    ["a copy of the file", { file: "1:3" }],
    ["a copy of the file that got its inode", { born: "8" }],
    ["a copy of the file in its place, with another data directory", { nonce: "other" }],
    ["a data directory that was put back", { nonce: "old" }],
  ])("changes for %s", (_what, difference) => {
    const { database, site } = start(true);
    expect(previousSite(database, site, { ...next, ...difference })).toHaveProperty("newBecause");
  });

  test("counts starts in the database", () => {
    const { database } = start(true);
    expect(recordStart(database, next, "newer")).toBe(2);
    writeState(database, "incarnation", 41);
    expect(recordStart(database, next, "newest")).toBe(42);
  });
});

describe("the data directory", () => {
  test("keeps a nonce that is new at every start, and the port", async () => {
    const directory = new DataDirectory(join(folder, "data"));
    expect([directory.readNonce(), directory.readPort()]).toEqual([undefined, 0]);
    const nonce = directory.renewNonce();
    expect(directory.readNonce()).toBe(nonce);
    const renewed = directory.renewNonce();
    expect(renewed).not.toBe(nonce);
    await directory.nonceWritten();
    expect(directory.readNonce()).toBe(renewed);
    await directory.writePort(7700);
    expect(new DataDirectory(join(folder, "data")).readPort()).toBe(7700);
    expect(directory.ownDigestKey()).toEqual(directory.ownDigestKey());
  });

  test("waits for no queue in the place of a file: refused where it is needed, skipped where it is a hint", async () => {
    const path = join(folder, "data");
    const directory = new DataDirectory(path);
    const makeQueue = (name: string) => Bun.spawnSync(["mkfifo", join(path, name)]);
    for (const name of [".probe", "nonce", "nonce.new", "port", "port.new", "neighbours"]) {
      makeQueue(name);
    }
    expect(() => directory.readNonce()).toThrow(`${join(path, "nonce")} is no file: remove it`);
    expect([directory.readPort(), directory.readNeighbours()]).toEqual([0, []]);
    rmSync(join(path, "nonce"));
    expect(directory.renewNonce()).toBe(new DataDirectory(path).readNonce() as string);
    await directory.writePort(7700);
    expect(directory.readPort()).toBe(7700);
    // What a crash left there is a nonce that isn't the database's.
    writeFileSync(join(path, "nonce"), Uint8Array.of(0xff, 0));
    expect(directory.readNonce()).toHaveLength(2);
    makeQueue("patina.db-wal");
    expect(() => new DataDirectory(path)).toThrow(
      `database ${join(path, "patina.db-wal")}: it is no file: remove it`,
    );
  });

  test("is refused where there is a file", () => {
    writeFileSync(join(folder, "data"), "");
    expect(() => new DataDirectory(join(folder, "data"))).toThrow("there is a file of that name");
    expect(() => new DataDirectory(join(folder, "data", "deep"))).toThrow(/there is a file/);
  });
});

describe("a socket's path", () => {
  test("is claimed once, and again after its release", async () => {
    const path = join(folder, "s.sock");
    const first = await claimSocketPath(path);
    expect(first.kind).toBe("claimed");
    expect(await claimSocketPath(path)).toMatchObject({
      kind: "refused",
      why: expect.stringContaining("another agent serves it"),
    });
    if (first.kind === "claimed") first.release();
    const again = await claimSocketPath(path);
    expect(again.kind).toBe("claimed");
    if (again.kind === "claimed") again.release();
  });

  test("isn't taken from a program that listens, nor from a file", async () => {
    const path = join(folder, "s.sock");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    expect(await claimSocketPath(path)).toMatchObject({
      kind: "refused",
      why: expect.stringContaining("another program listens"),
    });
    await new Promise((resolve) => server.close(resolve));
    const file = join(folder, "file");
    writeFileSync(file, "precious");
    expect(await claimSocketPath(file)).toMatchObject({ kind: "refused" });
    expect(readFileSync(file, "utf8")).toBe("precious");
  });

  test("is refused when it is too long for the kernel", async () => {
    const path = join(folder, "x".repeat(108 - folder.length - 1));
    expect(path).toHaveLength(108);
    expect(await claimSocketPath(path)).toMatchObject({
      kind: "refused",
      why: expect.stringContaining("at most 107 bytes, this has 108"),
    });
  });
});

// A start on a full disk is tried again every second.
test("a nonce that can't be written leaves no file open", () => {
  const path = join(folder, "data");
  const directory = new DataDirectory(path);
  const full = (): never => {
    throw Object.assign(new Error("no room"), { code: "ENOSPC" });
  };
  const opened: number[] = [];
  const { openSync } = fs;
  const opens = spyOn(fs, "openSync").mockImplementation((...args) => {
    const fd = openSync(...args);
    opened.push(fd);
    return fd;
  });
  try {
    using _new = spyOn(fs, "fsyncSync").mockImplementation(full);
    using _again = spyOn(fs, "fdatasyncSync").mockImplementation(full);
    expect(() => directory.renewNonce(true)).toThrow("the disk is full");
    writeFileSync(join(path, "nonce"), `${"0".repeat(32)}\n`);
    expect(() => directory.renewNonce(true)).toThrow("the disk is full");
  } finally {
    opens.mockRestore();
  }
  // And one in between that was read.
  expect(opened.length).toBe(3);
  for (const fd of opened) expect(() => fs.fstatSync(fd)).toThrow("EBADF");
});

// As after an agent that root has started by hand. It said "attempt to write a readonly database", and not whose it must be.
testIf(
  process.getuid?.() === 0 ? undefined : "only root can become another user",
  "files that are another user's are told with whose they must be, also by --check",
  async () => {
    fs.chmodSync(folder, 0o755);
    const data = join(folder, "data");
    fs.mkdirSync(data);
    for (const name of ["patina.db", "patina.sock.lock"]) {
      writeFileSync(join(data, name), "", { mode: 0o600 });
    }
    fs.chownSync(data, 65534, 65534);
    const script = `
      const { DataDirectory, checkDataDirectory } = await import(process.argv[1]);
      const { claimSocketPath } = await import(process.argv[2]);
      process.setuid(65534);
      const data = process.argv[3];
      for (const look of [() => new DataDirectory(data), () => checkDataDirectory(data)]) {
        try { look(); console.log("fine"); } catch (error) { console.log(error.exitCode + " " + error.message); }
      }
      console.log((await claimSocketPath(data + "/patina.sock")).why);`;
    const modules = ["data-directory.ts", "../api/socket-path.ts"].map((one) =>
      join(import.meta.dir, one),
    );
    const asNobody = Bun.spawn([process.execPath, "-e", script, ...modules, data], {
      stdout: "pipe",
    });
    const denied = `4 ${join(data, "patina.db")}: permission denied: it must belong to the user that runs the agent`;
    const socket = join(data, "patina.sock");
    expect((await new Response(asNobody.stdout).text()).trim().split("\n")).toEqual([
      denied,
      denied,
      `socket ${socket}: permission denied: its folder, and ${socket}.lock, must be the agent's user's`,
    ]);
  },
);
