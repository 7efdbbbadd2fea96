/**
 * The typed client under Node: bundled, as a program of somebody else's would have it.
 *
 * @module
 */

import { expect } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestAgent } from "../agent-process.ts";
import { missingProgram, testIf } from "../real.ts";
import { contractSchema } from "./http.ts";

const program = `
import { strict as assert } from "node:assert";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { ApiFailure, PatinaClient, Real, Unreachable } from "./client.mjs";

const [at, token] = process.argv.slice(2);
const client = new PatinaClient(at, token);
const id = 1 + Math.floor(Math.random() * 2 ** 40);
const insert = (n, text) => ({ sql: "INSERT INTO tests VALUES (?, ?)", parameters: [id + n, text] });
const { rowsAffected, version } = await client.transact(insert(0, "a"), insert(1, "\u00e9"));
assert.deepEqual(rowsAffected, [1, 1]);
assert.ok(Number.isInteger(version));
const { columns, rows } = await client.query(
  "SELECT text, 9007199254740993 AS i, 1.0 AS r, x'00ff' AS b, NULL AS n FROM tests WHERE id = ?",
  id + 1,
);
assert.deepEqual(columns, ["text", "i", "r", "b", "n"]);
assert.deepEqual(rows, [["\u00e9", 9007199254740993n, new Real(1), Uint8Array.of(0, 255), null]]);
await assert.rejects(client.transact(insert(0, "again")), (error) => error instanceof ApiFailure);
await assert.rejects(client.query("SELECT nil FROM tests"), /no such column/);
await assert.rejects(new PatinaClient("/nowhere/patina.sock").query("SELECT 1"), Unreachable);

const stop = new AbortController();
const seen = [];
const live = client.subscribe(
  { sql: "SELECT id FROM tests WHERE id BETWEEN ? AND ?", parameters: [id, id + 99] },
  { signal: stop.signal },
);
for await (const event of live) {
  seen.push(event.kind);
  if (event.kind === "end-of-rows") await client.transact(insert(2, "c"));
  if (event.kind === "change") {
    assert.deepEqual([event.type, event.cells, event.changeId], ["insert", [id + 2], 1]);
    stop.abort();
  }
}
assert.deepEqual(seen, ["columns", "row", "row", "end-of-rows", "change"]);
assert.match((await client.health()).body, /./);

// One that doesn't answer, and one that stops in the middle: what a deadline ends isn't taken for an agent that went away.
for (const answer of ["", "HTTP/1.1 200 OK\\r\\ncontent-length: 9\\r\\n\\r\\n{"]) {
  const silent = createServer((socket) => socket.once("data", () => socket.write(answer)));
  await new Promise((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const slow = new PatinaClient("http://127.0.0.1:" + silent.address().port);
  await assert.rejects(slow.get("/v1/status", 100), /it took longer than was asked for/);
  silent.close();
}

// Behind a proxy that gives it a path.
const paths = [];
const behind = createHttpServer(({ url }, response) => {
  paths.push(url);
  response.end("{}");
});
await new Promise((resolve) => behind.listen(0, "127.0.0.1", resolve));
const origin = "127.0.0.1:" + behind.address().port;
for (const base of ["http://" + origin, "HTTP://" + origin + "/", "http://" + origin + "/a/b/"]) {
  assert.equal(await new PatinaClient(base).get("/v1/status"), "{}");
}
assert.deepEqual(paths, ["/v1/status", "/v1/status", "/a/b/v1/status"]);
console.log("ok", process.versions.bun === undefined ? "node" : "bun");
process.exit(0);
`;

const node = "node";
/** The agent's port, behind a proxy with TLS whose certificate is in `folder`. */
function serveTls(
  folder: string,
  to: { hostname: string; port: number },
): Bun.TCPSocketListener<Pipe> {
  return Bun.listen<Pipe>({
    hostname: "127.0.0.1",
    port: 0,
    tls: { key: Bun.file(join(folder, "key.pem")), cert: Bun.file(join(folder, "cert.pem")) },
    socket: {
      open(client) {
        client.data = { agent: connect(to.port, to.hostname) };
        const { agent } = client.data;
        agent.on("data", (bytes) => client.write(bytes));
        agent.on("close", () => client.end());
      },
      data: (client, bytes) => void client.data.agent.write(bytes),
      close: (client) => void client.data.agent.destroy(),
    },
  });
}

interface Pipe {
  agent: Socket;
}

/** Of a host that is known by its address and as localhost. */
async function makeCertificate(folder: string): Promise<void> {
  const names = "subjectAltName=DNS:localhost,IP:127.0.0.1";
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const made = Bun.spawn(
    ["openssl", "req", "-x509", ...key, "-keyout", "key.pem", "-out", "cert.pem"].concat([
      "-days",
      "2",
      "-subj",
      "/CN=localhost",
      "-addext",
      names,
    ]),
    { cwd: folder, stdout: "ignore", stderr: "pipe" },
  );
  const why = await new Response(made.stderr).text();
  if ((await made.exited) !== 0) throw new Error(why);
}

testIf(
  missingProgram(node) ?? missingProgram("openssl"),
  "the client works under Node, over the socket, over TCP and through a proxy with TLS",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "patina-node-"));
    const token = "a-token-for-the-node-client";
    await writeFile(join(folder, "schema.sql"), contractSchema);
    await writeFile(join(folder, "tokens.toml"), `[[tokens]]\nsecret = "${token}"\n`, {
      mode: 0o600,
    });
    const entry = join(folder, "entry.ts");
    const root = join(import.meta.dir, "../..");
    await writeFile(
      entry,
      `export * from "${root}/agent/client/client.ts";\nexport { Real } from "${root}/core/row/value.ts";\n`,
    );
    const built = await Bun.build({ entrypoints: [entry], target: "node", format: "esm" });
    expect(built.success).toBe(true);
    await writeFile(join(folder, "client.mjs"), await (built.outputs[0] as Blob).text());
    await writeFile(join(folder, "program.mjs"), program);
    const agent = await startTestAgent({
      folder,
      arguments: ["--listen", "127.0.0.1:0"],
      environment: { PATINA_API_TOKENS_FILE: join(folder, "tokens.toml") },
    });
    await makeCertificate(folder);
    const { hostname, port } = new URL(`http://${agent.listen[0]}`);
    using tls = serveTls(folder, { hostname, port: Number(port) });
    try {
      const runs = [
        [node, agent.socket],
        [node, `http://${agent.listen[0]}`, token],
        [node, `https://localhost:${tls.port}`, token],
        [process.execPath, agent.socket],
        [process.execPath, `http://${agent.listen[0]}`, token],
        [process.execPath, `https://localhost:${tls.port}`, token],
      ] as const;
      for (const [runtime, ...args] of runs) {
        const child = Bun.spawn([runtime, join(folder, "program.mjs"), ...args], {
          stdout: "pipe",
          stderr: "pipe",
          env: { ...process.env, NODE_EXTRA_CA_CERTS: join(folder, "cert.pem") },
        });
        const output = [
          await new Response(child.stdout).text(),
          await new Response(child.stderr).text(),
        ];
        const wanted = runtime === node ? "ok node\n" : "ok bun\n";
        expect([...output, await child.exited]).toEqual([wanted, "", 0]);
      }
    } finally {
      await agent.stop();
      await rm(folder, { recursive: true });
    }
  },
  120_000,
);
