/**
 * Agents as processes of their own, for tests: from source, or the executable that
 * `PATINA_TEST_BINARY` names.
 *
 * @module
 */

import { join, resolve } from "node:path";

const repository = resolve(import.meta.dir, "..");

/** The command line before its arguments. */
export const patinaCommand: readonly string[] =
  process.env.PATINA_TEST_BINARY === undefined
    ? [process.execPath, join(repository, "agent", "main.ts")]
    : [process.env.PATINA_TEST_BINARY];

/** Where nothing else is told a query has a minute: a machine that runs tests may have much else to do. */
const patience = { PATINA_STORE_QUERY_TIMEOUT_MS: "60000" };

export interface TestAgentOptions {
  /** Holds `schema.sql`; the data directory is made in it. */
  readonly folder: string;
  /** An executable; without one it is what {@link patinaCommand} says. */
  readonly binary?: string;
  readonly arguments?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

export interface TestAgent {
  readonly socket: string;
  /** TCP addresses of the API. */
  readonly listen: readonly string[];
  readonly site: string;
  readonly key: string;
  readonly port: number | null;
  readonly pid: number;
  /** All of its log so far. */
  readonly log: () => string;
  /** In an orderly way; the exit code. */
  stop(): Promise<number>;
  /** With -9. */
  kill(): Promise<void>;
}

/** Resolves when the agent serves. @throws with its log when it doesn't start */
export async function startTestAgent(options: TestAgentOptions): Promise<TestAgent> {
  const { folder, binary } = options;
  const child = Bun.spawn(
    [
      ...(binary === undefined ? patinaCommand : [binary]),
      "agent",
      "--json",
      "--data-dir",
      join(folder, "data"),
      "--schema",
      join(folder, "schema.sql"),
      ...(options.arguments ?? []),
    ],
    {
      env: { ...process.env, ...patience, ...options.environment },
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  let log = "";
  const logged = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) log += decoder.decode(chunk, { stream: true });
  })();
  const reader = child.stdout.getReader();
  let line = "";
  while (!line.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) {
      await Promise.all([child.exited, logged]);
      throw new Error(`the agent ended with ${child.exitCode}:\n${line}${log}`);
    }
    line += Buffer.from(value).toString();
  }
  const { socket, listen, site, key, port } = JSON.parse(line);
  return {
    socket,
    listen,
    site,
    key,
    port,
    pid: child.pid,
    log: () => log,
    async stop() {
      child.kill("SIGTERM");
      return child.exited;
    },
    async kill() {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs one command to its end. */
export async function runPatina(
  args: readonly string[],
  options: {
    readonly stdin?: string;
    readonly environment?: Readonly<Record<string, string>>;
    readonly before?: readonly string[];
  } = {},
): Promise<CommandResult> {
  const child = Bun.spawn([...(options.before ?? []), ...patinaCommand, ...args], {
    env: { ...process.env, ...options.environment },
    stdin: options.stdin === undefined ? "ignore" : new Blob([options.stdin]),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  return { code, stdout, stderr };
}
