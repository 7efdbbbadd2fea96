/**
 * Callbacks of SQLite to a connection: hooks, authorizer, progress, functions.
 *
 * As in vfs/glue.ts there is one C function pointer for each kind, and SQLite's user-data argument
 * says whom it is for: a connection's number, or a function's. Whatever a callback throws stops
 * here, becomes a result code, and is kept for the error that the statement then ends with.
 *
 * @module
 */

import { SQLITE_DENY } from "./constants.ts";
import type { TrampolineSignature } from "./trampoline.ts";

/** One connection's callbacks. The addresses are of C strings and valid during the call. */
export interface HookTarget {
  /** Rowids as two words each. */
  preupdate(
    operation: number,
    zDatabase: number,
    zTable: number,
    oldLow: number,
    oldHigh: number,
    newLow: number,
    newHigh: number,
  ): void;
  authorize(action: number, z1: number, z2: number, zDatabase: number, zTrigger: number): number;
  /** True: stop. */
  progress(): boolean;
  /** True: let it commit. */
  commit(): boolean;
  rollback(): void;
  /** Keeps what a callback threw. */
  fail(thrown: unknown): void;
}

/** A scalar function as SQLite calls it. Must not throw. */
export type ScalarCallback = (context: number, argc: number, argv: number) => void;

export class HookGlue {
  readonly #targets: (HookTarget | undefined)[] = [undefined];
  readonly #functions: (ScalarCallback | undefined)[] = [undefined];
  readonly #freeTargets: number[] = [];
  readonly #freeFunctions: number[] = [];
  #userData!: (context: number) => number;

  start(userData: (context: number) => number): void {
    this.#userData = userData;
  }

  /** @returns the number to give to SQLite as user data; never 0 */
  add(target: HookTarget): number {
    return put(this.#targets, this.#freeTargets, target);
  }

  remove(id: number): void {
    this.#targets[id] = undefined;
    this.#freeTargets.push(id);
  }

  addFunction(callback: ScalarCallback): number {
    return put(this.#functions, this.#freeFunctions, callback);
  }

  callbacks(): [string, TrampolineSignature & { readonly target: CallableFunction }][] {
    return [
      ["preupdate", { params: "iiiiijj", result: "v", target: this.#preupdate }],
      ["authorizer", { params: "iiiiii", result: "i", target: this.#authorizer }],
      ["progress", { params: "i", result: "i", target: this.#progress }],
      ["commit", { params: "i", result: "i", target: this.#commit }],
      ["rollback", { params: "i", result: "v", target: this.#rollback }],
      ["scalar", { params: "iii", result: "v", target: this.#scalar }],
      ["functionDestroy", { params: "i", result: "v", target: this.#functionDestroy }],
    ];
  }

  #target(id: number): HookTarget {
    return this.#targets[id] as HookTarget;
  }

  #preupdate = (
    id: number,
    _db: number,
    operation: number,
    zDatabase: number,
    zTable: number,
    oldLow: number,
    oldHigh: number,
    newLow: number,
    newHigh: number,
  ): void => {
    const target = this.#target(id);
    try {
      target.preupdate(operation, zDatabase, zTable, oldLow, oldHigh, newLow, newHigh);
    } catch (thrown) {
      target.fail(thrown);
    }
  };

  #authorizer = (
    id: number,
    action: number,
    z1: number,
    z2: number,
    zDatabase: number,
    zTrigger: number,
  ): number => {
    const target = this.#target(id);
    try {
      return target.authorize(action, z1, z2, zDatabase, zTrigger);
    } catch (thrown) {
      target.fail(thrown);
      return SQLITE_DENY;
    }
  };

  #progress = (id: number): number => {
    const target = this.#target(id);
    try {
      return target.progress() ? 1 : 0;
    } catch (thrown) {
      target.fail(thrown);
      return 1;
    }
  };

  #commit = (id: number): number => {
    const target = this.#target(id);
    try {
      return target.commit() ? 0 : 1;
    } catch (thrown) {
      target.fail(thrown);
      return 1;
    }
  };

  #rollback = (id: number): void => {
    const target = this.#target(id);
    try {
      target.rollback();
    } catch (thrown) {
      target.fail(thrown);
    }
  };

  #scalar = (context: number, argc: number, argv: number): void => {
    (this.#functions[this.#userData(context)] as ScalarCallback)(context, argc, argv);
  };

  /** SQLite is done with a function: its connection closed, or another took its name. */
  #functionDestroy = (id: number): void => {
    this.#functions[id] = undefined;
    this.#freeFunctions.push(id);
  };
}

function put<Item>(items: (Item | undefined)[], free: number[], item: Item): number {
  const id = free.pop() ?? items.length;
  items[id] = item;
  return id;
}
