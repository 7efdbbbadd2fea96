/**
 * What `bench read` compares with: a `Bun.serve` handler that reads the body of each request and answers
 * the same bytes, whatever was asked.
 *
 * @module
 */

/** Arguments: a Unix socket's path or a TCP port (0 for any), and a file with the answer. */
const [where, file] = process.argv.slice(2) as [string, string];
const answer = await Bun.file(file).bytes();
const headers = { "patina-agreed-ms": "none" };
const server = Bun.serve({
  ...(where.startsWith("/") ? { unix: where } : { hostname: "127.0.0.1", port: Number(where) }),
  async fetch(request) {
    await request.bytes();
    return new Response(answer, { headers });
  },
});
console.log(server.port ?? 0);

export {};
