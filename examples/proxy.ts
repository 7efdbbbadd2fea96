/**
 * A proxy in fifty lines: it subscribes to the instances of the local agent and sends real requests to what
 * is up. `bun examples/proxy.ts /path/to/patina.sock`
 *
 * It prints what it learns and does, one JSON object a line with the time `at` in ms since 1970: `ready`, `news`
 * (an instance changed, in its view), `sent` (a request left for an instance) and `answer`.
 *
 * It knows nothing new once its agent has ended: `agent/client/client.ts` comes back to it, and goes on where it was.
 *
 * @module
 */

const [socket = "", everyMs = "20"] = process.argv.slice(2);
if (socket === "") throw new Error("usage: bun examples/proxy.ts SOCKET [MS BETWEEN REQUESTS]");
const clock = () => performance.timeOrigin + performance.now();
const say = (line: object) => process.stdout.write(`${JSON.stringify({ ...line, at: clock() })}\n`);

/** Addresses of what is up, by instance. */
const up = new Map<string, string>();

function learn(id: string, address: string, status: string): void {
  if (status === "up") up.set(id, address);
  else up.delete(id);
}

async function subscribe(): Promise<void> {
  const body = JSON.stringify(
    "SELECT id, address, status FROM instances WHERE address LIKE '127.%'",
  );
  const headers = { "content-type": "application/json" };
  const response = await fetch("http://patina/v1/subscriptions", {
    unix: socket,
    method: "POST",
    body,
    headers,
    // It may be silent for longer than the five minutes that Bun waits.
    timeout: false,
  } as RequestInit);
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of response.body as ReadableStream<Uint8Array>) {
    const lines = (rest + decoder.decode(piece, { stream: true })).split("\n");
    rest = lines.pop() as string;
    for (const line of lines) {
      const event = JSON.parse(line);
      if (event.row) learn(...(event.row[1] as [string, string, string]));
      else if (event.change) {
        const [kind, , [id, address, status]] = event.change;
        learn(id, address, kind === "delete" ? "down" : status);
        say({ news: id, status: kind === "delete" ? "down" : status });
      } else if (event.eoq) say({ ready: up.size });
      else if (event.error) throw new Error(event.error);
    }
  }
}

setInterval(async () => {
  const [id, address] = [...up][Math.floor(Math.random() * up.size)] ?? [];
  if (id === undefined) return;
  say({ sent: id });
  const status = await fetch(`http://${address}/`).then(
    (answer) => answer.status,
    () => 0,
  );
  say({ answer: id, status });
}, Number(everyMs));

await subscribe();

export {};
