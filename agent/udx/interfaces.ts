/**
 * The machine's network interfaces and their changes.
 *
 * @module
 */

import { EventEmitter } from "node:events";
import { networkInterfaces } from "node:os";

export interface NetworkInterface {
  readonly name: string;
  readonly host: string;
  readonly family: 4 | 6;
  /** Loopback. */
  readonly internal: boolean;
}

/** Systems tell of changes in ways that JavaScript can't hear: they are looked for this often. */
const POLL_MS = 5000;

/** Sorted by address, so that two lists of the same interfaces are equal. */
export function listInterfaces(): NetworkInterface[] {
  const list: NetworkInterface[] = [];
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const address of addresses ?? []) {
      const family = address.family === "IPv4" || Number(address.family) === 4 ? 4 : 6;
      list.push({ name, host: address.address, family, internal: address.internal });
    }
  }
  return list.sort(
    (a, b) => a.family - b.family || a.name.localeCompare(b.name) || a.host.localeCompare(b.host),
  );
}

/** Events: `change` (the new list), `close`. */
export class NetworkInterfaces extends EventEmitter {
  interfaces: NetworkInterface[];
  readonly #list: () => NetworkInterface[];
  readonly #pollMs: number;
  #timer: ReturnType<typeof setInterval> | null = null;
  #destroying: Promise<void> | null = null;

  constructor(list: () => NetworkInterface[] = listInterfaces, pollMs: number = POLL_MS) {
    super();
    this.#list = list;
    this.#pollMs = pollMs;
    this.interfaces = list();
  }

  watch(): this {
    if (this.#timer !== null || this.#destroying !== null) return this;
    this.#timer = setInterval(() => this.#poll(), this.#pollMs);
    this.#timer.unref?.();
    return this;
  }

  unwatch(): this {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    return this;
  }

  destroy(): Promise<void> {
    if (this.#destroying === null) {
      this.unwatch();
      this.#destroying = new Promise((resolve) => {
        setImmediate(() => {
          this.emit("close");
          resolve();
        });
      });
    }
    return this.#destroying;
  }

  #poll(): void {
    const next = this.#list();
    if (JSON.stringify(next) === JSON.stringify(this.interfaces)) return;
    this.interfaces = next;
    this.emit("change", next);
  }

  [Symbol.iterator](): Iterator<NetworkInterface> {
    return this.interfaces[Symbol.iterator]();
  }
}
