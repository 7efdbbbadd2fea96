import { expect, test } from "bun:test";
import { join } from "node:path";
import { until } from "../../../test/until.ts";
import { UDX } from "../index.ts";
import { TemporaryFolder } from "./temporary-folder.ts";

const FIXTURES = join(import.meta.dir, "fixtures");

test("in a Worker of a compiled executable, echoes go on while the main thread is blocked", async () => {
  using folder = new TemporaryFolder();
  const executable = join(folder.path, "program");
  await Bun.build({
    entrypoints: [join(FIXTURES, "worker-main.ts"), join(FIXTURES, "worker-net.ts")],
    compile: { outfile: executable },
  });
  const program = Bun.spawn([executable], {
    cwd: folder.path,
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = linesOf(program.stdout);
  const { value: first } = await lines.next();
  const { port } = JSON.parse(first ?? "") as { port: number };

  const udx = new UDX();
  const socket = udx.createSocket();
  socket.bind(0, "127.0.0.1");
  const stream = udx.createStream(2);
  stream.on("error", () => {});
  stream.connect(socket, 1, port, "127.0.0.1");

  let echoes = 0;
  const ping = (): void => {
    stream.write(Buffer.from([1]));
  };
  stream.on("data", () => {
    echoes++;
    setTimeout(ping, 5);
  });
  ping();
  await until(() => echoes > 10);

  const before = echoes;
  program.stdin.write("3000\n");
  program.stdin.flush();
  const { value: answer } = await lines.next();
  expect(JSON.parse(answer ?? "")).toEqual({ blockedMs: 3000 });
  // The main thread did nothing else for 3 s. Many echoes; how many is the machine's business.
  expect(echoes - before).toBeGreaterThan(50);
  expect(stream.rtoCount).toBe(0);

  stream.destroy();
  await socket.close();
  program.kill();
  await program.exited;
}, 120_000);

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
