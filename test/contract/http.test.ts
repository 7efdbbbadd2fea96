import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestAgent } from "../agent-process.ts";
import { contractSchema, httpContract } from "./http.ts";

const bodyBytesMax = 1024 * 1024;

/** A server of one's own: PATINA_TEST_CONTRACT_TARGET=http://127.0.0.1:8080 bun test test/contract/http.test.ts */
const foreign = process.env.PATINA_TEST_CONTRACT_TARGET;

httpContract("the agent, from source", async () => {
  const folder = await mkdtemp(join(tmpdir(), "patina-http-"));
  await writeFile(join(folder, "schema.sql"), contractSchema);
  const agent = await startTestAgent({
    folder,
    environment: { PATINA_API_BODY_BYTES_MAX: String(bodyBytesMax) },
  });
  return {
    at: agent.socket,
    isPatina: true,
    async close() {
      await agent.stop();
      await rm(folder, { recursive: true });
    },
  };
});

if (foreign !== undefined) {
  httpContract(foreign, async () => ({ at: foreign, isPatina: false, close: async () => {} }));
}
