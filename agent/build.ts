/**
 * `npm run build`: makes `dist/patina`, one executable that needs nothing of the tree it was built in.
 *
 * What takes some doing:
 * - `sodium-native` finds its addon through the absolute path of the build machine, which happens to
 *   work there and nowhere else. Its binding is replaced by a literal `require` of the prebuilt file,
 *   which is what makes Bun embed it (at run time Bun unpacks it to `$BUN_TMPDIR`, `$TMPDIR` or `/tmp`;
 *   the folder must allow executing). Any other `.node` file fails the build.
 * - The net thread is a second entry point: `new Worker(new URL("./net/net-thread.ts", import.meta.url))`
 *   finds it in the executable only then.
 * - By default a compiled binary runs the `.env` and the `bunfig.toml` (with its `preload`) of the folder
 *   it is started in. Both are turned off.
 * - Splitting keeps each command's code in chunks of its own, and the bytecode is compiled here:
 *   together they keep `patina --version` in the milliseconds.
 *
 * The file is built in a temporary folder beside its place and renamed over it. After a failure there is
 * no file at all: a stale binary must not pass for a new one.
 *
 * @module
 */

import { chmod, mkdir, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { BunPlugin } from "bun";

export interface BuildOptions {
  /** The command line's module. */
  readonly entry: string;
  /** Modules started by `new Worker` as `./name.ts`. */
  readonly workers: readonly string[];
  readonly outfile: string;
  /** Half a megabyte less, and stack traces of one line. */
  readonly minify: boolean;
}

export type BuildResult =
  | { readonly kind: "built"; readonly outfile: string; readonly bytes: number }
  /** No file is left at `outfile`. */
  | { readonly kind: "failed"; readonly why: string };

const repository = resolve(import.meta.dir, "..");

export const buildDefaults: BuildOptions = {
  entry: join(import.meta.dir, "main.ts"),
  workers: [
    join(import.meta.dir, "net", "net-thread.ts"),
    join(import.meta.dir, "readers", "reader-thread.ts"),
  ],
  outfile: join(repository, "dist", "patina"),
  minify: false,
};

/** Builds the executable for the platform this runs on. */
export async function buildExecutable(options: BuildOptions): Promise<BuildResult> {
  const outfile = resolve(options.outfile);
  await mkdir(dirname(outfile), { recursive: true });
  const folder = await mkdtemp(join(dirname(outfile), ".build-"));
  try {
    // The name shows in stack traces, so the temporary file bears the final one.
    const temporary = join(folder, "patina");
    const output = await Bun.build({
      entrypoints: [options.entry, ...options.workers],
      target: "bun",
      format: "esm",
      splitting: true,
      bytecode: true,
      minify: options.minify,
      sourcemap: "linked",
      // All in one folder, wherever they stand in the tree: `./net-thread.ts` must be found from any chunk.
      naming: { entry: "[name].[ext]", chunk: "[name]-[hash].[ext]", asset: "[name]-[hash].[ext]" },
      throw: false,
      compile: { outfile: temporary, autoloadDotenv: false, autoloadBunfig: false },
      plugins: [addons],
    });
    if (!output.success) {
      await rm(outfile, { force: true });
      return { kind: "failed", why: output.logs.map(String).join("\n") };
    }
    await chmod(temporary, 0o755);
    await rename(temporary, outfile);
    return { kind: "built", outfile, bytes: (await stat(outfile)).size };
  } catch (error) {
    await rm(outfile, { force: true });
    return { kind: "failed", why: error instanceof Error ? error.message : String(error) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Embeds sodium-native's prebuilt addon, and no other. */
const addons: BunPlugin = {
  name: "patina-addons",
  setup(build) {
    build.onLoad({ filter: /[\\/]sodium-native[\\/]binding\.js$/ }, ({ path }) => {
      const addon = join(dirname(path), "prebuilds", platform(), "sodium-native.node");
      return { loader: "js", contents: `module.exports = require(${JSON.stringify(addon)});` };
    });
    build.onLoad({ filter: /\.node$/ }, ({ path }) => {
      if (!/[\\/]sodium-native[\\/]prebuilds[\\/]/.test(path)) {
        throw new Error(`native addon: only sodium-native's, got ${path}`);
      }
      return undefined;
    });
  },
};

/** As sodium-native names its prebuilds. There is none for musl. */
function platform(): string {
  return `${process.platform}-${process.arch}`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      outfile: { type: "string", default: buildDefaults.outfile },
      entry: { type: "string", default: buildDefaults.entry },
      minify: { type: "boolean", default: buildDefaults.minify },
    },
  });
  const startedMs = performance.now();
  const result = await buildExecutable({ ...buildDefaults, ...values });
  if (result.kind === "failed") {
    console.error(`build failed:\n${result.why}`);
    process.exit(1);
  }
  const { version } = (await Bun.file(join(repository, "package.json")).json()) as {
    version: string;
  };
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  const megabytes = (result.bytes / 1e6).toFixed(1);
  console.log(`patina ${version}: ${result.outfile} (${megabytes} MB, ${seconds} s)`);
}
