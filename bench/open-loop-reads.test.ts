import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OpenLoopResult } from "./open-loop-reads.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "patina-open-loop-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

const body = '{"row":[1,["a"]]}\n';
const answer = `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

test("a connection that is cut is counted at once, and none is used again", async () => {
  const path = join(folder, "cuts.sock");
  let asked = 0;
  let cuts = 0;
  using server = Bun.listen<{ requests: number }>({
    unix: path,
    socket: {
      open: (socket) => {
        socket.data = { requests: 0 };
      },
      data: (socket) => {
        // The first is the reader's own, and every tenth of the others isn't answered.
        if (socket.data.requests++ > 0 && ++asked % 10 === 0) {
          cuts++;
          socket.end();
        } else socket.write(answer);
      },
    },
  });
  const script = join(import.meta.dir, "open-loop-reads.ts");
  const reader = Bun.spawn([process.execPath, script, path, "200", "10"], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  try {
    const output = reader.stdout.getReader();
    expect(Buffer.from((await output.read()).value ?? []).toString()).toBe("ready\n");
    reader.stdin.write("go\n");
    await reader.stdin.flush();
    while (cuts < 3) await Bun.sleep(5);
    await reader.stdin.end();
    const decoder = new TextDecoder();
    let text = "";
    for (let { done, value } = await output.read(); !done; { done, value } = await output.read()) {
      text += decoder.decode(value, { stream: true });
    }
    const result = JSON.parse(text) as OpenLoopResult;
    expect([result.wrong, result.wrongText]).toEqual([
      cuts,
      "a connection was cut, 0 bytes into an answer",
    ]);
    expect(result.tookMs.length + result.wrong).toBe(asked);
  } finally {
    reader.kill("SIGKILL");
    await reader.exited;
    server.stop(true);
  }
});
