/**
 * Examples in doc comments and in README run as tests: every fenced `ts` block, with `expect` in scope.
 *
 * @module
 */

import { expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { knownRoutes } from "../agent/api/front.ts";
import { openApi } from "../agent/api/openapi.ts";
import { readConfig } from "../agent/config/config.ts";
import { configValues } from "../agent/config/config-changes.ts";
import { scenarios } from "./sim/scenarios.ts";

const root = join(import.meta.dir, "..");
const files = ["README.md", ...new Glob("{core,wasm,agent}/**/*.ts").scanSync({ cwd: root })]
  .filter((path) => !path.includes("node_modules") && !path.endsWith(".test.ts"))
  .sort();

let examples = 0;
for (const file of files) {
  const text = readFileSync(join(root, file), "utf8");
  for (const match of text.matchAll(/^(\s*\* ?|)```ts\n([\s\S]*?)^\s*(?:\* ?)?```$/gm)) {
    const margin = match[1]?.trim() === "*";
    const code = margin ? (match[2] as string).replace(/^\s*\* ?/gm, "") : (match[2] as string);
    const line = text.slice(0, match.index).split("\n").length;
    examples++;
    test(`the example at ${file}:${line} runs`, async () => {
      // Beside the file, so that its relative imports hold.
      const folder = mkdtempSync(join(root, file, "..", ".example-"));
      try {
        const path = join(folder, "example.ts");
        const imports = code.replace(/from "(\.\.?\/)/g, 'from "../$1');
        writeFileSync(path, `import { expect } from "bun:test";\n${imports}`);
        await import(path);
      } finally {
        rmSync(folder, { recursive: true, force: true });
      }
    });
  }
}

test("examples are looked for in README and every source file", () => {
  expect(files.length).toBeGreaterThan(20);
  expect(examples).toBeGreaterThan(0);
});

test("ARCHITECTURE's map has every folder, and no other", () => {
  const text = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
  const map = /## The rooms\n\n```\n([\s\S]*?)\n```/.exec(text)?.[1] ?? "";
  let place = "";
  const drawn: string[] = [];
  for (const line of map.split("\n")) {
    place = /^(\w+)\//.exec(line)?.[1] ?? place;
    const rooms = /^ {2}([\w, -]+?) {2}/.exec(line)?.[1]?.split(", ") ?? [];
    for (const room of rooms) drawn.push(`${place}/${room}`);
  }
  const sources = [...new Glob("{core,wasm,agent,test}/*/*.ts").scanSync({ cwd: root })];
  const folders = sources
    .map((path) => path.split("/").slice(0, 2).join("/"))
    .filter((folder) => !folder.endsWith("node_modules"));
  expect(drawn.sort()).toEqual([...new Set(folders)].sort());
});

test("README's table has every key of the configuration", () => {
  const read = readConfig({ file: undefined, text: "", environment: {}, flags: {} });
  if (read.kind === "refused") throw new Error(read.problems.join("\n"));
  const keys = [...configValues(read.config).keys()];
  const text = readFileSync(join(root, "README.md"), "utf8");
  expect(keys.filter((key) => !text.includes(`\`${key}`))).toEqual([]);
  expect(keys.length).toBeGreaterThan(30);
});

test("the example of a configuration is one, and README's example of a session has such another", () => {
  const readme = readFileSync(join(root, "README.md"), "utf8");
  const session = /cat > a\.toml <<'END'\n([\s\S]*?)END\n/.exec(readme)?.[1] ?? "";
  const example = readFileSync(join(root, "examples", "patina.toml"), "utf8");
  for (const text of [session, example]) {
    const read = readConfig({ file: "a.toml", text, environment: {}, flags: {} });
    expect(read.kind === "refused" ? read.problems : []).toEqual([]);
    expect(text).toContain("[schema]");
  }
});

test("README and OpenAPI have every path of the API", () => {
  const text = readFileSync(join(root, "README.md"), "utf8");
  const described = Object.keys(openApi.paths);
  const served = [...knownRoutes, "/v1/subscriptions/{id}", "/v1/updates/{table}"];
  expect(described.toSorted()).toEqual(served.toSorted());
  expect(served.filter((path) => !text.includes(path.replace(/\/\{.*/, "/")))).toEqual([]);
});

// Each difference from Corrosion is listed with the test that shows it; a list that names what isn't there is worth nothing.
test("every test that ARCHITECTURE names is there", () => {
  const text = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
  const named = [...text.matchAll(/`([\w./-]+\.ts)` "([^"]+)"/g)];
  const lost = named.filter(([, file, name]) => {
    const source = readFileSync(join(root, file as string), "utf8");
    return !source.includes(name as string);
  });
  expect(lost.map(([whole]) => whole)).toEqual([]);
  expect(named.length).toBeGreaterThan(20);
});

test("every scenario that ARCHITECTURE names is there", () => {
  const text = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
  const named = [...text.matchAll(/scenarios?\s+`([^`]+)`/g)].map((match) => match[1] as string);
  expect(named.filter((name) => !Object.hasOwn(scenarios, name))).toEqual([]);
  expect(named.length).toBeGreaterThan(5);
});

test("every link of the documents leads to a file, and a heading, that is there", () => {
  const textOf = (file: string) => readFileSync(join(root, file), "utf8");
  /** As GitHub names headings. */
  const anchorsOf = (file: string) =>
    [...textOf(file).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
      (heading as string)
        .toLowerCase()
        .replace(/[^\w\s-]/g, "")
        .replace(/\s/g, "-"),
    );
  const links = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].flatMap((document) =>
    [...textOf(document).matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)/g)].map(
      ([, file, anchor]) => ({ file: file === "" ? document : (file as string), anchor }),
    ),
  );
  const lost = links.filter(({ file, anchor }) => {
    if (!existsSync(join(root, file))) return true;
    return anchor !== undefined && !anchorsOf(file).includes(anchor);
  });
  expect(lost).toEqual([]);
  expect(links.length).toBeGreaterThan(20);
});

test("every file that README and ARCHITECTURE name is there", () => {
  const there = [...new Glob("{core,wasm,agent,test,bench,examples}/**/*").scanSync({ cwd: root })];
  const named = ["README.md", "ARCHITECTURE.md"].flatMap((document) => {
    const text = readFileSync(join(root, document), "utf8");
    return [...text.matchAll(/[`(]([\w./-]+\.(?:ts|md|sql|toml|service))[`)]/g)].map(([, path]) => {
      return { document, path: path as string };
    });
  });
  // Beside another one of its folder a file is named without it. What a user writes is no file of ours.
  const isThere = (path: string) =>
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].includes(path) ||
    there.some((one) => one === path || (!path.includes("/") && one.endsWith(`/${path}`)));
  const users = new Set(["cluster.toml", "/etc/patina/patina.toml"]);
  const lost = named.filter(({ path }) => !users.has(path) && !isThere(path));
  expect(lost).toEqual([]);
  expect(named.length).toBeGreaterThan(60);
});
