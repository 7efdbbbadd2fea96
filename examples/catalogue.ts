/**
 * A service catalogue of realistic shape, from a seed: few services with many instances, many with few.
 *
 * @module
 */

import type { Statement } from "../agent/client/client.ts";

export interface Catalogue {
  readonly services: readonly (readonly [
    name: string,
    protocol: string,
    owner: string,
    description: string,
  ])[];
  readonly instances: readonly (readonly [
    id: string,
    service: string,
    node: string,
    address: string,
    status: string,
    weight: number,
  ])[];
  readonly checks: readonly (readonly [
    instance: string,
    kind: string,
    intervalMs: number,
    passing: number,
    output: string,
  ])[];
}

const kinds = [
  "api",
  "web",
  "worker",
  "cache",
  "queue",
  "auth",
  "search",
  "billing",
  "media",
  "mail",
];
const teams = ["platform", "payments", "growth", "data", "edge", "identity", "storage"];

/** @param random Uniform in [0, 1). */
export function createCatalogue(
  size: { services: number; instances: number; nodes: number },
  random: () => number,
): Catalogue {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const services = Array.from({ length: size.services }, (_, i) => {
    const kind = kinds[i % kinds.length] as string;
    const owner = pick(teams);
    const protocol = pick(["http", "grpc", "tcp"]);
    return [`${owner}-${kind}-${i}`, protocol, owner, `${kind} of team ${owner}`] as const;
  });
  const instances: Catalogue["instances"][number][] = [];
  const checks: Catalogue["checks"][number][] = [];
  for (let i = 0; i < size.instances; i++) {
    // Squared: the first services have most of the instances.
    const service = services[Math.floor(random() ** 2 * services.length)] ?? services[0];
    const id = `i-${Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, "0")}-${i}`;
    const host = Math.floor(random() * size.nodes);
    const address = `10.${host >> 8}.${host & 255}.${1 + (i % 250)}:${8000 + (i % 1000)}`;
    instances.push([
      id,
      service?.[0] ?? "",
      `host-${host}`,
      address,
      "up",
      50 + Math.floor(random() * 100),
    ]);
    checks.push([id, "http", pick([500, 1000, 5000]), 1, "200 OK"]);
  }
  return { services, instances, checks };
}

/** Statements that register `rows`, `perTransaction` to each list. */
export function* registrations(
  table: "services" | "instances" | "checks",
  rows: readonly (readonly (string | number)[])[],
  perTransaction: number,
): Generator<Statement[]> {
  for (let i = 0; i < rows.length; i += perTransaction) {
    yield rows.slice(i, i + perTransaction).map((row) => {
      const marks = row.map(() => "?").join(", ");
      return { sql: `INSERT INTO ${table} VALUES (${marks})`, parameters: [...row] };
    });
  }
}
