/**
 * The first answers of a process, byte for byte: the executable is started again and again on a machine that is busy,
 * asked what is known, over every carrier, and killed: `bun test/long/answers.ts --seconds 60 --seed 7`.
 *
 * `VALUES (1),(2)`, asked of a process that had just started, was once seen to have one row. That was never seen again.
 * Code that has just started is compiled anew, step by step, while it runs: so when the engine compiles is drawn as
 * well (its `BUN_JSC_` options), for JavaScript and for SQLite's WebAssembly.
 *
 * @module
 */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PatinaClient } from "../../agent/client/client.ts";
import type { TestAgent } from "../agent-process.ts";
import { H2cConnection } from "../contract/h2c.ts";
import { Random } from "../sim/random.ts";
import { startBuiltAgent } from "./soak.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    busy: { type: "string", default: "2" },
  },
});
const random = new Random(Number(values.seed), "answers");
const rows = 1500;
const batches = 6;
const answerMsMax = 120_000;

interface Known {
  /** Of the request. */
  readonly body: string;
  /** Of the answer, without its last line, which tells the time. */
  readonly lines: string;
}

type Ask = (bodies: readonly string[]) => Promise<string[]>;

const linesOf = (columns: readonly string[], cells: readonly (readonly unknown[])[]): string =>
  [{ columns }, ...cells.map((row, i) => ({ row: [i + 1, row] }))]
    .map((line) => `${JSON.stringify(line)}\n`)
    .join("");

const upTo = <T>(count: number, of: (n: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => of(i + 1));

/** From 1 to `most`, small ones as often as large ones. */
const someCount = (most: number): number => Math.floor(most ** random.next());

function valuesOf(count: number): Known {
  const body = JSON.stringify(`VALUES ${upTo(count, (n) => `(${n})`).join(",")}`);
  return {
    body,
    lines: linesOf(
      ["column1"],
      upTo(count, (n) => [n]),
    ),
  };
}

const counter = (count: number): string =>
  `WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < ${count})`;

/** Among them answers of many chunks, and queries that the store thread gives up: before, between and after their rows. */
const draws: readonly (() => Known)[] = [
  () => valuesOf(2),
  () => valuesOf(someCount(300)),
  () => {
    const count = someCount(20_000);
    const body = JSON.stringify(`${counter(count)} SELECT x, 'k' || x AS k FROM c`);
    return {
      body,
      lines: linesOf(
        ["x", "k"],
        upTo(count, (n) => [n, `k${n}`]),
      ),
    };
  },
  () => {
    const count = someCount(60_000);
    const body = JSON.stringify(
      `SELECT 1 AS a UNION ALL SELECT max(x) FROM (${counter(count)} SELECT x FROM c) UNION ALL SELECT 3`,
    );
    return { body, lines: linesOf(["a"], [[1], [count], [3]]) };
  },
  () => {
    const id = random.integer(1, rows);
    const body = JSON.stringify(["SELECT id, name FROM t WHERE id BETWEEN ? AND ?", [id, id + 1]]);
    const cells = [id, id + 1].map((n) => [n, `n${n}`]);
    return { body, lines: linesOf(["id", "name"], cells) };
  },
  () => {
    const body = JSON.stringify(
      "SELECT id % 3 AS m, count(*) AS c, NULL AS n FROM t GROUP BY m ORDER BY m",
    );
    return {
      body,
      lines: linesOf(
        ["m", "c", "n"],
        upTo(3, (n) => [n - 1, rows / 3, null]),
      ),
    };
  },
];

/** When the engine compiles: some at once, some late, some as ever. */
function compilerOptions(): Record<string, string> {
  const thresholds: readonly (readonly [string, number])[] = [
    ["thresholdForBBQOptimizeAfterWarmUp", 3000],
    ["thresholdForOMGOptimizeAfterWarmUp", 50_000],
    ["thresholdForOMGOptimizeSoon", 500],
    ["thresholdForJITAfterWarmUp", 800],
    ["thresholdForOptimizeAfterWarmUp", 1500],
    ["thresholdForFTLOptimizeAfterWarmUp", 64_000],
  ];
  const drawn = random.chance(0.5) ? [] : random.some(thresholds, 0.5);
  return Object.fromEntries(
    drawn.map(([name, most]) => [`BUN_JSC_${name}`, String(someCount(most))]),
  );
}

/** All at once, on one connection. */
function askPipelined(path: string): Ask {
  return (bodies) =>
    new Promise((resolve, reject) => {
      const socket = connect(path);
      const answers: string[] = [];
      let text = "";
      socket.on("data", (bytes) => {
        text += bytes.toString("latin1");
        for (let answer = takeAnswer(text); answer !== undefined; answer = takeAnswer(text)) {
          answers.push(answer.body);
          text = text.slice(answer.end);
        }
        if (answers.length < bodies.length) return;
        socket.destroy();
        resolve(answers);
      });
      socket.on("error", reject);
      socket.on("close", () =>
        reject(new Error(`closed after ${answers.length} answers: ${text}`)),
      );
      const head = "POST /v1/queries HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
      socket.write(
        bodies.map((body) => `${head}content-length: ${body.length}\r\n\r\n${body}`).join(""),
      );
    });
}

/** The first answer in `text`, if it is whole. */
function takeAnswer(text: string): { readonly body: string; readonly end: number } | undefined {
  const at = text.indexOf("\r\n\r\n") + 4;
  if (at < 4) return undefined;
  const length = /^content-length: (\d+)\r$/m.exec(text.slice(0, at));
  if (length !== null) {
    const end = at + Number(length[1]);
    return text.length < end ? undefined : { body: text.slice(at, end), end };
  }
  let body = "";
  for (let from = at; ; ) {
    const dataAt = text.indexOf("\r\n", from) + 2;
    if (dataAt < 2) return undefined;
    const bytes = Number.parseInt(text.slice(from, dataAt), 16);
    const end = dataAt + bytes + 2;
    if (text.length < end) return undefined;
    if (bytes === 0) return { body, end };
    body += text.slice(dataAt, end - 2);
    from = end;
  }
}

const headers = { "content-type": "application/json" };

function askInParallel(fetchOne: (body: string) => Promise<Response>): Ask {
  return (bodies) => Promise.all(bodies.map(async (body) => (await fetchOne(body)).text()));
}

function carriersOf({ socket, listen }: TestAgent): readonly (readonly [string, Ask])[] {
  const url = `http://${listen[0]}`;
  const post = (at: string, unix?: string) => (body: string) =>
    fetch(`${at}/v1/queries`, {
      method: "POST",
      headers,
      body,
      ...(unix === undefined ? {} : { unix }),
    });
  const h2c = new H2cConnection(url);
  return [
    ["Unix, pipelined", askPipelined(socket)],
    ["Unix", askInParallel(post("http://x", socket))],
    ["TCP", askInParallel(post(url))],
    ["h2c", askInParallel((body) => h2c.fetch("POST", "/v1/queries", body, headers, undefined))],
  ];
}

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const folder = await mkdtemp(join(tmpdir(), "patina-answers-"));
const schema = "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, name TEXT);";
await writeFile(join(folder, "schema.sql"), schema);
const start = (options: Record<string, string>) =>
  startBuiltAgent({
    folder,
    arguments: ["--listen", "127.0.0.1:0"],
    // A query isn't to be ended by its time on a busy machine.
    environment: { PATINA_API_TOKEN: "false", PATINA_STORE_QUERY_TIMEOUT_MS: "120000", ...options },
  });

const first = await start({});
await new PatinaClient(first.socket).transact(
  `INSERT INTO t ${counter(rows)} SELECT x, 'n' || x FROM c`,
);
await first.stop();

const busy = upTo(Number(values.busy), () => Bun.spawn([process.execPath, "-e", "for (;;);"]));
let [starts, answers, wrong] = [0, 0, 0];
const untilMs = performance.now() + Number(values.seconds) * 1000;
try {
  while (performance.now() < untilMs) {
    const options = compilerOptions();
    const agent = await start(options);
    starts++;
    try {
      const carriers = carriersOf(agent);
      for (let batch = 0; batch < batches; batch++) {
        const [name, ask] = random.pick(carriers);
        // What was seen was at its first use.
        const known = batch === 0 ? [valuesOf(2)] : upTo(someCount(12), () => random.pick(draws)());
        const got = await within(answerMsMax, ask(known.map(({ body }) => body)));
        for (const [i, { body, lines }] of known.entries()) {
          answers++;
          const text = (got[i] as string).replace(/\{"eoq":\{"time":[^}]*\}\}\n$/, "!").trimStart();
          if (text === `${lines}!`) continue;
          wrong++;
          console.log(`FAILED: ${name}, batch ${batch}, ${JSON.stringify(options)}`);
          console.log(`asked ${body.slice(0, 300)}\ngot ${text.slice(0, 2000)}`);
        }
      }
    } finally {
      await agent.kill();
    }
  }
} finally {
  for (const one of busy) one.kill();
  await rm(folder, { recursive: true });
}
console.log(`seed ${values.seed}: ${starts} starts, ${answers} answers, ${wrong} wrong`);
process.exit(wrong === 0 && starts > 1 ? 0 : 1);
