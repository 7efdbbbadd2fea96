import { afterAll, beforeAll } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestAgent, type TestAgent } from "../agent-process.ts";
import { contractSchema, httpContract, patinaSchema } from "./http.ts";

const bodyBytesMax = 1024 * 1024;

/** A server of one's own: PATINA_TEST_CONTRACT_TARGET=http://127.0.0.1:8080 bun test test/contract/http.test.ts */
const foreign = process.env.PATINA_TEST_CONTRACT_TARGET;

const token = "a-token-of-these-tests";

let agent: TestAgent;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "patina-http-"));
  await writeFile(join(folder, "schema.sql"), contractSchema + patinaSchema);
  await writeFile(join(folder, "tokens.toml"), `[[tokens]]\nsecret = "${token}"\n`, {
    mode: 0o600,
  });
  agent = await startTestAgent({
    folder,
    arguments: ["--listen", "127.0.0.1:0"],
    environment: {
      PATINA_API_BODY_BYTES_MAX: String(bodyBytesMax),
      PATINA_API_TOKENS_FILE: join(folder, "tokens.toml"),
    },
  });
});
afterAll(async () => {
  await agent.stop();
  await rm(folder, { recursive: true });
});

httpContract("over the Unix socket", async () => ({
  at: agent.socket,
  isPatina: true,
  close: async () => {},
}));
for (const isH2c of [false, true]) {
  httpContract(isH2c ? "over TCP, h2c" : "over TCP, HTTP/1.1", async () => ({
    at: `http://${agent.listen[0]}`,
    isPatina: true,
    isH2c,
    token,
    close: async () => {},
  }));
}

if (foreign !== undefined) {
  httpContract(foreign, async () => ({ at: foreign, isPatina: false, close: async () => {} }));
}
