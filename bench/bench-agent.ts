/**
 * The servers that benchmarks put load on: an agent in a process of its own, standing alone, and a baseline that
 * answers a constant. Both end when they are disposed of, and what they kept goes.
 *
 * @module
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface BenchAgent extends AsyncDisposable {
  /** Its own, for whatever else a benchmark writes down. */
  readonly folder: string;
  readonly socket: string;
  /** `host:port` of the API's first TCP address. */
  readonly listen: string | undefined;
  readonly pid: number;
}

export interface BenchAgentOptions {
  readonly schemaSql: string;
  /** TOML. */
  readonly config?: string;
  /** The executable; without one the agent runs from source. */
  readonly binary?: string | undefined;
  /** Statements that write its rows. */
  readonly fill?: readonly string[];
}

/** Resolves when it serves and has its rows. */
export async function startBenchAgent(options: BenchAgentOptions): Promise<BenchAgent> {
  const folder = mkdtempSync(join(tmpdir(), "patina-bench-"));
  const [schema, config] = [join(folder, "schema.sql"), join(folder, "patina.toml")];
  writeFileSync(schema, options.schemaSql);
  writeFileSync(config, options.config ?? "");
  const source = [process.execPath, join(import.meta.dir, "..", "agent", "main.ts")];
  const child = Bun.spawn(
    [
      ...(options.binary === undefined ? source : [options.binary]),
      ...["agent", "--json", "--config", config],
      ...["--data-dir", join(folder, "data"), "--schema", schema],
    ],
    { stdout: "pipe", stderr: "ignore" },
  );
  const dispose = async (): Promise<void> => {
    await end(child);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const { socket, listen } = JSON.parse(await firstLine(child)) as {
      socket: string;
      listen: readonly string[];
    };
    const { fill = [] } = options;
    if (fill.length > 0) await post(socket, "/v1/transactions", JSON.stringify(fill));
    const agent = { folder, socket, listen: listen[0], pid: child.pid };
    return { ...agent, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

export interface ConstantServer extends AsyncDisposable {
  /** The socket's path, or `127.0.0.1:port`. */
  readonly where: string;
  readonly pid: number;
}

/**
 * @param where a Unix socket's path, or "0" for any TCP port
 * @param file what it answers
 */
export async function startConstant(where: string, file: string): Promise<ConstantServer> {
  const script = join(import.meta.dir, "constant-server.ts");
  const child = Bun.spawn([process.execPath, script, where, file], { stdout: "pipe" });
  const port = (await firstLine(child)).trim();
  return {
    where: where.startsWith("/") ? where : `127.0.0.1:${port}`,
    pid: child.pid,
    [Symbol.asyncDispose]: () => end(child),
  };
}

/** Over a Unix socket. @throws when it is refused, or says that something went wrong */
export async function post(socket: string, path: string, body: string): Promise<string> {
  const { ok, status, answer } = await postAnyway(socket, path, body);
  if (!ok || answer.includes('{"error"')) throw new Error(`${path}: ${status} ${answer}`);
  return answer;
}

/** The same, whatever is answered. */
export async function postAnyway(
  socket: string,
  path: string,
  body: string,
): Promise<{ readonly ok: boolean; readonly status: number; readonly answer: string }> {
  const response = await fetch(`http://bench${path}`, {
    method: "POST",
    unix: socket,
    headers: { "content-type": "application/json" },
    body,
  });
  return { ok: response.ok, status: response.status, answer: await response.text() };
}

/** Both print all that they have to tell in one piece. */
async function firstLine(child: Bun.Subprocess<"ignore", "pipe", "ignore" | "inherit">) {
  const { value } = await child.stdout.getReader().read();
  return new TextDecoder().decode(value);
}

async function end(child: Bun.Subprocess): Promise<void> {
  child.kill("SIGKILL");
  await child.exited;
}
