/**
 * What another project does: one line of `overrides`, and Hyperswarm runs without native UDX. In
 * fresh folders, under Node and under Bun.
 */

import { describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "../build.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const HERE = join(import.meta.dir, "..");

const PROGRAM = `
const DHT = require("hyperdht");
const Hyperswarm = require("hyperswarm");
const createTestnet = require("hyperdht/testnet.js");
const UDX = require("udx-native");

async function main() {
  // Fault injection is ours alone: this isn't the native one.
  if (typeof UDX.simulateLoss !== "function") throw new Error("this is another udx-native");
  const testnet = await createTestnet(6);
  const create = () =>
    new Hyperswarm({ dht: new DHT({ bootstrap: testnet.bootstrap, host: "127.0.0.1" }) });
  const [a, b] = [create(), create()];
  const topic = Buffer.alloc(32, 1);
  const heard = new Promise((resolve) => {
    b.on("connection", (connection) => {
      connection.on("error", () => {});
      connection.on("data", (data) => resolve(data.toString()));
    });
  });
  a.on("connection", (connection) => {
    connection.on("error", () => {});
    connection.write("hello");
  });
  await a.join(topic, { server: true, client: false }).flushed();
  b.join(topic, { server: false, client: true });
  console.log(await heard);
  await Promise.all([a.destroy(), b.destroy()]);
  await testnet.destroy();
  process.exit(0);
}

main();
`;

const TYPED_PROGRAM = `
import UDX = require("udx-native");
const udx = new UDX();
const socket = udx.createSocket({ ipv6Only: false });
socket.bind(0, "127.0.0.1");
const port: number | undefined = socket.address()?.port;
const stream = udx.createStream(1, { framed: true });
stream.connect(socket, 2, port ?? 1, "127.0.0.1");
const written: boolean = stream.write(new Uint8Array(1));
export { written };
`;

/** Packs the module as a registry would have it, and returns the archive's path. */
async function pack(folder: string): Promise<string> {
  const copy = join(folder, "udx");
  mkdirSync(copy);
  for (const name of readdirSync(HERE)) {
    if (/\.(ts|cjs|json|md)$/.test(name)) copyFileSync(join(HERE, name), join(copy, name));
  }
  await build(join(copy, "dist"));
  const packed = Bun.spawnSync(
    ["npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", folder],
    { cwd: copy, stdout: "pipe", stderr: "pipe" },
  );
  if (packed.exitCode !== 0) throw new Error(packed.stderr.toString());
  return join(folder, packed.stdout.toString().trim());
}

function createProject(folder: string, name: string, archive: string): string {
  const project = join(folder, name);
  mkdirSync(project);
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({
      private: true,
      dependencies: { hyperswarm: "4.17.2", hyperdht: "6.34.0" },
      overrides: { "udx-native": `file:${archive}` },
    }),
  );
  writeFileSync(join(project, "program.cjs"), PROGRAM);
  return project;
}

function run(argv: string[], cwd: string): string {
  const done = Bun.spawnSync(argv, { cwd, stdout: "pipe", stderr: "pipe", timeout: 60_000 });
  if (done.exitCode !== 0) {
    throw new Error(
      `${argv.join(" ")}: exit code ${done.exitCode}: ${done.stdout}${done.stderr}`.slice(0, 2000),
    );
  }
  return done.stdout.toString().trim();
}

/** Installing needs the registry. Returns false, and says so, when there is none. */
function install(argv: string[], cwd: string): boolean {
  try {
    run(argv, cwd);
    return true;
  } catch (error) {
    if (process.env.PATINA_REQUIRE_REAL === "1") throw error;
    console.log(`skipped: a project with one override: ${(error as Error).message.slice(0, 300)}`);
    return false;
  }
}

describe.skipIf(Bun.which("npm") === null)("a project with one override", () => {
  test("under Node, installed by npm", async () => {
    using folder = new TemporaryFolder();
    const project = createProject(folder.path, "project", await pack(folder.path));
    if (!install(["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"], project))
      return;
    expect(run(["node", "program.cjs"], project)).toBe("hello");

    // And its types hold without ours beside it.
    writeFileSync(join(project, "typed.cts"), TYPED_PROGRAM);
    const types = join(HERE, "../../node_modules/@types");
    run(
      [
        Bun.which("tsc") ?? join(HERE, "../../node_modules/.bin/tsc"),
        ...["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext"],
        ...["--typeRoots", types, "--types", "bun", "typed.cts"],
      ],
      project,
    );
  }, 120_000);

  test("under Bun, installed by bun", async () => {
    using folder = new TemporaryFolder();
    const project = createProject(folder.path, "project", await pack(folder.path));
    if (!install([process.execPath, "install"], project)) return;
    expect(run([process.execPath, "program.cjs"], project)).toBe("hello");
  }, 120_000);
});
