/**
 * An agent's HTTP servers: one on its Unix socket, and one on each address of `api.listen`.
 *
 * @module
 */

import { chmodSync, chownSync } from "node:fs";
import { fullAccess, openAccess } from "./api/access.ts";
import { ConnectionLimit } from "./api/connection-limit.ts";
import { connectionMetrics } from "./api/connection-metrics.ts";
import { Front, RouteRoom } from "./api/front.ts";
import { createGate, refuseSiteNames } from "./api/gate.ts";
import { apiLimits, createApi } from "./api/handlers.ts";
import type { HttpServer } from "./api/http-server.ts";
import { listenAddressToText } from "./api/listen-address.ts";
import { idOf } from "./api/socket-owner.ts";
import type { StoreService } from "./api/store-service.ts";
import { serveTcp } from "./api/tcp-server.ts";
import type { TokenSet } from "./api/token-set.ts";
import { serveUnix } from "./api/unix-server.ts";
import type { Config } from "./config/config.ts";
import { KeptFile, type KeptState, lookAgain } from "./host/kept-file.ts";
import { faultText, type Log } from "./log.ts";
import { exitCodes, StartFailure } from "./start-failure.ts";

/** Whom the socket is given to; undefined: nobody else. */
export interface SocketOwner {
  readonly user: number | undefined;
  readonly group: number | undefined;
}

const lookEveryMs = 1000;

export interface ServersOptions {
  readonly config: Config;
  readonly service: StoreService;
  /** Of TCP; undefined: none is wanted. */
  readonly tokens: TokenSet | undefined;
  readonly owner: SocketOwner;
  readonly log: Log;
}

export interface AgentServers {
  /** TCP addresses, with the ports that were taken. */
  readonly listen: readonly string[];
  /** As each server's: see {@link HttpServer.stop}. */
  stop(): Promise<void>;
}

/**
 * Serves until it is stopped. What it had begun is stopped when it throws.
 *
 * @throws StartFailure
 */
export async function startServers(options: ServersOptions): Promise<AgentServers> {
  const { config, service, tokens, owner, log } = options;
  const { socket, socketMode, bodyBytesMax, subscriberBytesMax, endpointName } = config.api;
  const room = new RouteRoom();
  const limits = { ...apiLimits, bodyBytesMax, subscriberBytesMax };
  const servers = new Map<string, HttpServer>();
  const ownMetrics = () => [...room.metrics(), ...connectionMetrics(servers)];
  const handle = createApi(service, limits, ownMetrics);
  const onFault = (error: unknown): void =>
    log.error("a handler failed", { why: faultText(error) });
  const limit = new ConnectionLimit({
    connectionsMax: config.api.connectionsMax,
    onReached: ({ connectionsMax, closedIdle, refused }) =>
      log.warn("too many connections: idle ones of TCP are closed, or new ones refused", {
        connections_max: connectionsMax,
        closed_idle: closedIdle,
        refused,
      }),
  });
  const shared = { bodyBytesMax, limit, onFault };
  const listen: string[] = [];
  let stopLooking = (): void => {};
  const stop = async (): Promise<void> => {
    stopLooking();
    await Promise.all(servers.values().map((server) => server.stop()));
  };
  try {
    // Nobody is asked for a token on the socket.
    const gate = endpointName === "" ? undefined : createGate({ tokens: fullAccess, endpointName });
    const front = new Front({ handle, room, gate });
    const unix = refusedWhy(socket, () => serveUnix({ ...shared, path: socket, front }));
    servers.set("unix", unix);
    // Bound under umask 077: until here nobody else could connect.
    const open = (): void => {
      changeOwner(socket, owner);
      chmodSync(socket, socketMode);
    };
    refusedWhy(socket, open);
    stopLooking = keepSocket(socket, log, () => {
      unix.renew();
      open();
    });
    const tcpGate =
      tokens === undefined
        ? refuseSiteNames(createGate({ tokens: openAccess, endpointName }))
        : createGate({ tokens, endpointName });
    const tcpFront = new Front({ handle, room, gate: tcpGate });
    for (const address of config.api.listen) {
      const served = serveTcp({ ...shared, address, front: tcpFront });
      if (served.kind === "refused") {
        throw new StartFailure(exitCodes.socket, `api.listen: ${served.why}`);
      }
      const at = listenAddressToText(served.server.address);
      servers.set(at, served.server);
      listen.push(at);
    }
  } catch (error) {
    await stop();
    throw error;
  }
  if (listen.length > 0) {
    log.info("serving", { listen: listen.join(","), token: tokens !== undefined });
  }
  return { listen, stop };
}

/**
 * Puts the socket there again when it was deleted (whoever tidies up a folder of temporary files does that), or nobody could
 * connect any more, nor another agent start. What another program has put in its place is left alone, and told.
 */
function keepSocket(path: string, log: Log, renew: () => void): () => void {
  const file = new KeptFile(path);
  let lastWhy: string | undefined;
  let isReplaced = false;
  const onFound = (state: KeptState): void => {
    if (state === "replaced" && !isReplaced) {
      log.error("something else was put at the socket's path: nobody can connect; remove it", {
        socket: path,
      });
    }
    isReplaced = state === "replaced";
    if (state !== "deleted") return;
    try {
      renew();
      file.renew();
      lastWhy = undefined;
      log.warn("the socket was deleted, and is there again", { socket: path });
    } catch (error) {
      const why = (error as Error).message;
      if (why !== lastWhy) log.error("the socket was deleted: nobody can connect", { why });
      lastWhy = why;
    }
  };
  return lookAgain(() => file.look(), onFound, lookEveryMs);
}

/** @throws StartFailure that says why the system doesn't let it */
function refusedWhy<T>(path: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    if (error instanceof StartFailure) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new StartFailure(exitCodes.socket, `socket ${path}: ${message} (${code})`);
  }
}

/** @throws StartFailure */
export function socketOwnerOf(config: Config): SocketOwner {
  const id = (kind: "user" | "group", name: string): number | undefined => {
    if (name === "") return undefined;
    const found = idOf(kind, name);
    if (found !== undefined) return found;
    const key = kind === "user" ? "api.socket_owner" : "api.socket_group";
    throw new StartFailure(exitCodes.usage, `${key}: there is no ${kind} ${name} on this host`);
  };
  const { socketOwner, socketGroup } = config.api;
  return { user: id("user", socketOwner), group: id("group", socketGroup) };
}

/** @throws StartFailure */
function changeOwner(path: string, { user, group }: SocketOwner): void {
  if (user === undefined && group === undefined) return;
  try {
    // -1: as it is.
    chownSync(path, user ?? -1, group ?? -1);
  } catch (error) {
    const why = `${(error as Error).message}: only root may give it to another user, or to a group that isn't its own`;
    throw new StartFailure(exitCodes.socket, `socket ${path}: ${why}`);
  }
}
