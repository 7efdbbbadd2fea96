/**
 * Executables of older commits of this repository, built from its history.
 *
 * Each has a tree of its own (`git archive`) with the packages that its lock file names. They are copied from this
 * checkout where it has the same versions, and otherwise installed; they can't be linked, since a link is followed
 * before `udx-native` is looked for, which would then be this checkout's and not the commit's.
 *
 * @module
 */

import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { repository } from "./soak.ts";

export interface Release {
  readonly name: string;
  /** The executable. */
  readonly binary: string;
}

interface LockedPackage {
  readonly version?: string;
  readonly dev?: boolean;
  readonly link?: boolean;
  /** Of a link: the folder in the tree. */
  readonly resolved?: string;
}

/** Why not all of these commits can be had here; undefined: they can. */
export function missingHistory(commits: readonly string[]): string | undefined {
  if (!existsSync(join(repository, ".git"))) return "this tree is no git checkout";
  for (const commit of commits) {
    const looked = run(["git", "cat-file", "-e", `${commit}^{commit}`], repository);
    if (looked !== undefined) return `no commit ${commit} here, as in a shallow clone: ${looked}`;
  }
  return undefined;
}

/** @param folder where its tree is made @returns the executable's path @throws with what the tools said */
export async function buildCommit(commit: string, folder: string): Promise<string> {
  const tree = join(folder, commit);
  mkdirSync(tree, { recursive: true });
  const archive = `${tree}.tar`;
  must(run(["git", "archive", `--output=${archive}`, commit], repository));
  must(run(["tar", "-xf", archive, "-C", tree], folder));
  installPackages(tree);
  const build = Bun.spawn([process.execPath, join("agent", "build.ts")], {
    cwd: tree,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const texts = await Promise.all(
    [build.stdout, build.stderr].map((one) => new Response(one).text()),
  );
  if ((await build.exited) !== 0) throw new Error(`${commit} doesn't build:\n${texts.join("")}`);
  return join(tree, "dist", "patina");
}

/** What an executable needs, and nothing that only development does. */
function installPackages(tree: string): void {
  const lock = JSON.parse(readFileSync(join(tree, "package-lock.json"), "utf8"));
  const packages = Object.entries(lock.packages as Record<string, LockedPackage>).filter(
    ([path, { dev }]) => path.startsWith("node_modules/") && dev !== true,
  );
  const isHere = packages.every(([path, { version, link }]) => {
    return link === true || versionHere(path) === version;
  });
  if (!isHere) {
    must(run(["npm", "ci", "--omit=dev", "--no-audit", "--no-fund"], tree));
    return;
  }
  for (const [path, { link, resolved = "" }] of packages) {
    const to = join(tree, path);
    mkdirSync(dirname(to), { recursive: true });
    if (link === true) symlinkSync(relative(dirname(to), join(tree, resolved)), to);
    else if (!existsSync(to)) cpSync(join(repository, path), to, { recursive: true });
  }
}

function versionHere(path: string): string | undefined {
  const file = join(repository, path, "package.json");
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).version : undefined;
}

/** Undefined, or what it complained of. */
function run(command: readonly string[], cwd: string): string | undefined {
  const { exitCode, stderr } = Bun.spawnSync([...command], { cwd, stdout: "ignore" });
  return exitCode === 0 ? undefined : `${command.join(" ")}: ${stderr.toString().trim()}`;
}

function must(complaint: string | undefined): void {
  if (complaint !== undefined) throw new Error(complaint);
}
