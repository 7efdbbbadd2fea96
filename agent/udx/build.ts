/**
 * Builds `dist/`: what Node needs of this module, which runs from source under Bun.
 *
 *     bun build.ts [folder]
 *
 * - `dist/udx.cjs`: everything but streamx, in one file.
 * - `dist/*.d.ts`: the types, with `udx.d.cts` as their CommonJS entry.
 *
 * @module
 */

import { copyFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const HERE: string = import.meta.dir;

const CJS_ENTRY_TYPES = `/// <reference path="./streamx.d.ts" />
import { UDX } from "./index.js";
export = UDX;
`;

/** Builds into `folder`, which is emptied first. Throws what the tools say. */
export async function build(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  const result = await Bun.build({
    entrypoints: [join(HERE, "udx.cjs")],
    target: "node",
    format: "cjs",
    external: ["bun:ffi", "streamx"],
  });
  const [output] = result.outputs;
  if (output === undefined) throw new Error("nothing was built");
  await Bun.write(join(folder, "udx.cjs"), output);

  const config = join(HERE, "tsconfig.build.json");
  const tsc = Bun.spawnSync(
    [
      process.execPath,
      Bun.which("tsc") ?? join(HERE, "../../node_modules/.bin/tsc"),
      "-p",
      config,
      "--outDir",
      folder,
    ],
    { cwd: HERE, stdout: "pipe", stderr: "pipe" },
  );
  if (tsc.exitCode !== 0) throw new Error(`tsc: ${tsc.stdout.toString()}${tsc.stderr.toString()}`);
  writeFileSync(join(folder, "udx.d.cts"), CJS_ENTRY_TYPES);
  copyFileSync(join(HERE, "streamx.d.ts"), join(folder, "streamx.d.ts"));
  // What is beside the entry is CommonJS too, whatever the package says.
  writeFileSync(join(folder, "package.json"), '{ "type": "commonjs" }\n');
}

if (import.meta.main) await build(process.argv[2] ?? join(HERE, "dist"));
