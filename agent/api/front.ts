/**
 * What stands before the handlers on every carrier: who asks, and whether there is room. Both are decided
 * by the head of a request; only then is its body read.
 *
 * Room is counted for each route, as the contract has it: so many requests may be between their head and the
 * head of their answer. A stream that has begun takes none. So bodies that come slowly don't hold up
 * other routes; what they may take of memory is counted for all together (`body-room.ts`).
 *
 * @module
 */

import { type Access, fullAccess } from "./access.ts";
import { type BodyPlace, BodyRoom } from "./body-room.ts";
import { counters, type Metric } from "./exposition.ts";
import type { Gate } from "./gate.ts";
import type { ApiHandler } from "./handlers.ts";
import {
  type ApiRequest,
  type ApiResponse,
  emptyResponse,
  type RequestHead,
  textResponse,
} from "./http.ts";

const many = 128;
const few = 4;
const fewRoutes: ReadonlySet<string> = new Set(["/v1/table_stats", "/v1/health"]);

/** Paths that are whole; two more have an id or a table behind them. */
export const knownRoutes: ReadonlySet<string> = new Set([
  "/v1/queries",
  "/v1/transactions",
  "/v1/subscriptions",
  "/v1/migrations",
  "/v1/table_stats",
  "/v1/health",
  "/v1/status",
  "/v1/swarm",
  "/v1/subs",
  "/v1/openapi.json",
  "/v1/backup",
  "/v1/reload",
  "/metrics",
]);

/** Requests of one route that are between their head and the head of their answer. */
export interface Route {
  running: number;
  readonly max: number;
  /** Since the start. */
  entered: number;
  /** For want of room. */
  refused: number;
}

function newRoute(max: number): Route {
  return { running: 0, max, entered: 0, refused: 0 };
}

/** On one agent, over all its carriers. */
export class RouteRoom {
  readonly bodies: BodyRoom;
  readonly #routes: ReadonlyMap<string, Route> = new Map(
    [...knownRoutes].map((path) => [path, newRoute(fewRoutes.has(path) ? few : many)]),
  );
  readonly #byId: Route = newRoute(many);
  readonly #updates: Route = newRoute(many);
  /** Unknown paths share one. */
  readonly #other: Route = newRoute(many);

  constructor(bodies: BodyRoom = new BodyRoom()) {
    this.bodies = bodies;
  }

  /** The route, to be given to {@link leave}; undefined when it is full. */
  enter(path: string): Route | undefined {
    const route = this.#routes.get(path) ?? this.#routeOf(path);
    if (route.running >= route.max) {
      route.refused++;
      return undefined;
    }
    route.running++;
    route.entered++;
    return route;
  }

  leave(route: Route): void {
    route.running--;
  }

  metrics(): Metric[] {
    const routes = [
      ...this.#routes,
      ["/v1/subscriptions/{id}", this.#byId] as const,
      ["/v1/updates/{table}", this.#updates] as const,
      ["other", this.#other] as const,
    ];
    const of = (what: "entered" | "refused"): Record<string, number> =>
      Object.fromEntries(routes.map(([path, route]) => [path, route[what]]));
    return [
      counters(
        "patina_requests_total",
        "Requests that were let in, by route.",
        "route",
        of("entered"),
      ),
      counters(
        "patina_requests_refused_total",
        "Answered 503: too many of the route at once.",
        "route",
        of("refused"),
      ),
    ];
  }

  /** Without what stands for an id or a table. */
  #routeOf(path: string): Route {
    if (path.startsWith("/v1/subscriptions/")) return this.#byId;
    return path.startsWith("/v1/updates/") ? this.#updates : this.#other;
  }
}

export interface FrontOptions {
  readonly handle: ApiHandler;
  readonly room: RouteRoom;
  /** Undefined where whoever can connect may do everything. */
  readonly gate: Gate | undefined;
}

export type Entry =
  | {
      readonly kind: "entered";
      readonly access: Access;
      readonly route: Route;
      readonly body: BodyPlace;
    }
  | { readonly kind: "refused"; readonly response: ApiResponse };

export type Entered = Entry & { readonly kind: "entered" };

export class Front {
  readonly #handle: ApiHandler;
  readonly #room: RouteRoom;
  readonly #gate: Gate | undefined;

  constructor({ handle, room, gate }: FrontOptions) {
    this.#handle = handle;
    this.#room = room;
    this.#gate = gate;
  }

  /** By its head alone. Whoever has entered is to {@link leave}, whatever becomes of the request. */
  enter(head: RequestHead): Entry {
    let access = fullAccess;
    if (this.#gate !== undefined) {
      const admission = this.#gate(head);
      if (admission.kind === "refused") return admission;
      access = admission.access;
    }
    const route = this.#room.enter(head.path);
    if (route === undefined) return full;
    return { kind: "entered", access, route, body: this.#room.bodies.open() };
  }

  handle(request: ApiRequest, { access }: Entered): ReturnType<ApiHandler> {
    // While the body came.
    if (access.revoked?.aborted === true) return emptyResponse(401);
    return this.#handle(request, access);
  }

  leave({ route, body }: Entered): void {
    body.leave();
    this.#room.leave(route);
  }
}

const full: Entry = {
  kind: "refused",
  response: textResponse(503, "max concurrency limit reached"),
};
