import { expect, test } from "bun:test";
import type { Access } from "./access.ts";
import { apiLimits, createApi } from "./handlers.ts";
import type { ApiRequest } from "./http.ts";
import type { StoreService, StreamEvent, SubscribeOutcome } from "./store-service.ts";

const id = "12345678-1234-1234-1234-123456789012";
const gone = new AbortController().signal;
const request: ApiRequest = {
  method: "GET",
  path: `/v1/subscriptions/${id}`,
  query: "",
  body: new Uint8Array(0),
  signal: gone,
  header: () => undefined,
};

/** A token's signal, and how many listen to it. */
function token() {
  const revocation = new AbortController();
  const { signal } = revocation;
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (...args: unknown[]) => {
    listeners.add(args[1]);
    Reflect.apply(addEventListener, signal, args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners.delete(args[1]);
    Reflect.apply(removeEventListener, signal, args);
  };
  const access: Access = { mayWrite: true, tables: undefined, revoked: signal };
  return { access, revoke: () => revocation.abort(), listeners: () => listeners.size };
}

/** A store in which `attach` comes to this; the others of its functions aren't called. */
function storeOf(attach: () => SubscribeOutcome) {
  const unsubscribed: number[] = [];
  const store = {
    attach: async () => attach(),
    unsubscribe: (subscriber: number) => unsubscribed.push(subscriber),
    agreedMs: () => undefined,
  } as unknown as StoreService;
  return { store, unsubscribed };
}

const text = async (body: Uint8Array | AsyncIterable<Uint8Array>): Promise<string> =>
  Buffer.concat(body instanceof Uint8Array ? [body] : await Array.fromAsync(body)).toString();

// A token is there as long as the agent: a client that asks again and again for what is gone mustn't leave anything behind.
test("a stream that is refused leaves nobody who listens to its token", async () => {
  const { access, listeners } = token();
  const { store } = storeOf(() => ({ kind: "refused", status: 404, why: "there is none" }));
  const handle = createApi(store);
  for (let i = 0; i < 3; i++) expect((await handle(request, access)).status).toBe(404);
  expect(listeners()).toBe(0);
});

test("a stream whose client goes leaves nobody who listens to its token, and is no subscriber any more", async () => {
  const { access, listeners } = token();
  const { store, unsubscribed } = storeOf(() => ({
    kind: "subscribed",
    subscriber: 7,
    id,
    hash: undefined,
  }));
  const client = new AbortController();
  const { status, onCut } = await createApi(store)({ ...request, signal: client.signal }, access);
  expect([status, listeners(), unsubscribed]).toEqual([200, 1, []]);
  // Its carrier is told when what it was handed isn't kept any longer.
  expect(onCut).toBeFunction();
  client.abort();
  expect([listeners(), unsubscribed]).toEqual([0, [7]]);
});

test("who was let in, and finds no room any more for the first line, is told to try again", async () => {
  const pushes: ((event: StreamEvent) => void)[] = [];
  const opened = Promise.withResolvers<SubscribeOutcome>();
  const unsubscribed: number[] = [];
  const store = {
    attach: (_id: string, _options: unknown, push: (event: StreamEvent) => void) => {
      pushes.push(push);
      return opened.promise;
    },
    unsubscribe: (subscriber: number) => unsubscribed.push(subscriber),
    agreedMs: () => undefined,
  } as unknown as StoreService;
  const handle = createApi(store, { ...apiLimits, unreadBytesMax: 10 });
  const open = () => handle({ ...request, signal: new AbortController().signal });
  const answers = Promise.all([open(), open()]);
  const bytes = new Uint8Array(11);
  for (const push of pushes) push({ kind: "lines", bytes, isSnapshot: true });
  opened.resolve({ kind: "subscribed", subscriber: 7, id, hash: undefined });
  expect((await answers).map(({ status }) => status)).toEqual([200, 503]);
  expect(unsubscribed).toEqual([7]);
});

test("a stream whose token is taken back while it begins ends with a line that says so", async () => {
  const { access, revoke, listeners } = token();
  const { store, unsubscribed } = storeOf(() => {
    revoke();
    return { kind: "subscribed", subscriber: 7, id, hash: undefined };
  });
  const handle = createApi(store);
  // And one that was taken back between the head of the request and its body.
  for (let i = 0; i < 2; i++) {
    const { status, body } = await handle(request, access);
    const line = '{"error":"the token of this stream is no longer valid"}\n';
    expect([status, await text(body)]).toEqual([200, line]);
  }
  expect([unsubscribed, listeners()]).toEqual([[7, 7], 0]);
});
