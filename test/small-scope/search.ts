/**
 * All histories of a small scope.
 *
 * Breadth first: from each state that can be reached each step is taken. A state that was reached before isn't gone on
 * from again, for nothing can tell the two apart from there on (`History.state`). A store can't be copied, so
 * each history is run from its beginning; steps that change nothing are taken one after the other.
 *
 * Source of the idea: Jackson, "Software Abstractions": most faults show in small scopes, if all of them are looked at.
 *
 * @module
 */

import { History, type ScopeWorld, type Step } from "./history.ts";

export interface Scope {
  readonly name: string;
  readonly rows: number;
  /** Between two steps, of the true time. */
  readonly stepMs: number;
  /** Of what every history begins with. */
  readonly starts: readonly (readonly Step[])[];
  /** What may happen besides deliveries; the same at any time. */
  readonly steps: readonly Step[];
  /** Steps after the start. */
  readonly depth: number;
  /** That the hosts of one world run before others take their place. */
  readonly histories: number;
  readonly createWorld: () => ScopeWorld;
}

export interface Searched {
  readonly states: number;
  /** Steps taken from a state, each held against the law. */
  readonly transitions: number;
}

export function search(scope: Scope): Searched {
  const { rows, stepMs, depth } = scope;
  const seen = new Set<string>();
  let world = scope.createWorld();
  let transitions = 0;
  const run = (steps: readonly Step[]): History => {
    if (world.histories >= scope.histories) {
      for (const host of world.hosts) host[Symbol.dispose]();
      world = scope.createWorld();
    }
    const history = new History(world, rows, stepMs);
    for (const step of steps) history.do(step);
    return history;
  };
  let layer = scope.starts.map((steps) => {
    seen.add(run(steps).state());
    return steps;
  });
  for (let taken = 0; taken < depth; taken++) {
    const next: (readonly Step[])[] = [];
    for (const path of layer) {
      let history = run(path);
      const state = history.state();
      const steps = [...history.deliveries(), ...scope.steps];
      for (const step of steps) {
        transitions++;
        history.do(step);
        const reached = history.state();
        // Nothing came of it: the next step can be taken from here.
        if (reached === state) continue;
        if (!seen.has(reached)) {
          seen.add(reached);
          next.push([...path, step]);
        }
        history = run(path);
      }
    }
    layer = next;
  }
  for (const host of world.hosts) host[Symbol.dispose]();
  return { states: seen.size, transitions };
}
