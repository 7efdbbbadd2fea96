import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testIf } from "../../test/real.ts";
import { createSecretFile, readSecretText } from "./secret-file.ts";

const missingRoot =
  process.getuid?.() === 0 ? undefined : "only root can make files of others and become another";
const agentsUser = 65534;
const anotherUser = 65533;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-secret-"));
  chmodSync(folder, 0o755);
});
afterAll(() => rmSync(folder, { recursive: true }));

function secretOf(owner: number, mode: number): string {
  const path = join(folder, "secret.toml");
  writeFileSync(path, "text");
  chmodSync(path, mode);
  chownSync(path, owner, agentsUser);
  return path;
}

/** What an agent of a user of its own, whose group the file has, reads: the text, or why not. */
function readAsAgent(owner: number, mode: number): string {
  const path = secretOf(owner, mode);
  const module = JSON.stringify(join(import.meta.dir, "secret-file.ts"));
  const program = `const { readSecretText } = await import(${module});
    process.setgroups([]);
    process.setgid(${agentsUser});
    process.setuid(${agentsUser});
    try { console.log(readSecretText(${JSON.stringify(path)})); }
    catch (error) { console.log(error.message); }`;
  const { stdout, stderr } = Bun.spawnSync([process.execPath, "-e", program], { cwd: "/" });
  return stdout.toString().trim() + stderr.toString();
}

test("a folder that isn't there is named as the one that is missing", () => {
  const absent = join(folder, "absent");
  const why = createSecretFile(join(absent, "cluster.toml"), "text");
  expect(why).toBe(`there is no folder ${absent}: make it first`);
});

testIf(
  missingRoot,
  "a secret may be root's and readable for its group, as systemd hands out credentials",
  () => {
    for (const mode of [0o440, 0o640]) expect([mode, readAsAgent(0, mode)]).toEqual([mode, "text"]);
    expect(readAsAgent(agentsUser, 0o600)).toBe("text");
    // Root restores, and checks, with what the agent is given.
    expect(readSecretText(secretOf(0, 0o640))).toBe("text");
    expect(() => readSecretText(secretOf(anotherUser, 0o640))).toThrow("others can read it");
    // That user could have made anybody a reader, or a group with write permission could change it.
    for (const [owner, mode] of [
      [agentsUser, 0o640],
      [anotherUser, 0o640],
      [0, 0o660],
      [0, 0o644],
      [0, 0o641],
    ] as const) {
      expect([owner, mode, readAsAgent(owner, mode)]).toEqual([
        owner,
        mode,
        expect.stringContaining("others can read it"),
      ]);
    }
  },
);
