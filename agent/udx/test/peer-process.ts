/**
 * Starts `peer.cjs` in a process of its own and speaks with it; finds the real udx-native for it.
 *
 * @module
 */

import { existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const REAL_VERSION = "1.21.3";
const PACKAGES: readonly string[] = [
  `udx-native@${REAL_VERSION}`,
  "hyperswarm@4.17.2",
  "hyperdht@6.34.0",
];

export type Reply = Record<string, unknown> & { readonly error?: string };

export class PeerProcess {
  readonly #process: import("bun").Subprocess<"pipe", "pipe", "inherit">;
  readonly #waiting: Map<number, (reply: Reply) => void> = new Map();
  #n = 0;

  private constructor(argv: string[]) {
    this.#process = Bun.spawn(argv, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    void this.#read();
  }

  /**
   * @param runtime - "node" or the path of bun.
   * @param udxModule - What the peer requires as UDX.
   */
  static async start(runtime: string, udxModule: string): Promise<PeerProcess> {
    const peer = new PeerProcess([runtime, join(import.meta.dir, "peer.cjs"), udxModule]);
    const ready = await new Promise<Reply>((resolve) => peer.#waiting.set(0, resolve));
    if (ready.ready !== true) throw new Error("the peer ended before it was ready");
    return peer;
  }

  get pid(): number {
    return this.#process.pid;
  }

  async ask(command: string, fields: Record<string, unknown> = {}): Promise<Reply> {
    const n = ++this.#n;
    const reply = new Promise<Reply>((resolve) => this.#waiting.set(n, resolve));
    this.#process.stdin.write(`${JSON.stringify({ n, command, ...fields })}\n`);
    await this.#process.stdin.flush();
    const answer = await reply;
    if (answer.error !== undefined) throw new Error(`${command}: ${answer.error}`);
    return answer;
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    this.#process.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.#process.exited;
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const chunk of this.#process.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const reply = JSON.parse(line) as Reply & { readonly n: number };
        this.#waiting.get(reply.n)?.(reply);
        this.#waiting.delete(reply.n);
      }
    }
    for (const resolve of this.#waiting.values()) resolve({ error: "the peer has exited" });
    this.#waiting.clear();
  }
}

/**
 * The folder with the real udx-native and Hyperswarm for Node, installed when it isn't there, or the
 * reason why there is none. It lies outside this tree, where npm's overrides would replace it.
 */
function installReal(): { readonly root: string } | { readonly missing: string } {
  if (Bun.which("node") === null) return { missing: "there is no node" };
  if (Bun.which("npm") === null) return { missing: "there is no npm" };
  const root = join(tmpdir(), `udx-real-${REAL_VERSION}`);
  if (existsSync(root)) return { root };
  // Elsewhere first: two runs of the tests may do this at once, and one may be interrupted.
  const fresh = mkdtempSync(`${root}-`);
  writeFileSync(join(fresh, "package.json"), '{ "private": true }\n');
  const npm = Bun.spawnSync(
    ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", ...PACKAGES],
    { cwd: fresh, stdout: "ignore", stderr: "pipe" },
  );
  if (npm.exitCode !== 0) {
    rmSync(fresh, { recursive: true, force: true });
    return { missing: `npm install failed: ${npm.stderr.toString().trim().slice(0, 300)}` };
  }
  try {
    renameSync(fresh, root);
  } catch {
    // The other run was first.
    rmSync(fresh, { recursive: true, force: true });
  }
  return { root };
}

/**
 * The real one, or null with a line that says what is skipped. With PATINA_REQUIRE_REAL=1 a skip is
 * a failure.
 */
export function realOrSkip(what: string): string | null {
  const real = installReal();
  if ("root" in real) return real.root;
  if (process.env.PATINA_REQUIRE_REAL === "1") throw new Error(`${what}: ${real.missing}`);
  console.log(`skipped: ${what}: ${real.missing}`);
  return null;
}
