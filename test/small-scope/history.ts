/**
 * One history of a small scope, run by real hosts and held against the law (`said.ts`) after each step.
 *
 * A history has rows of its own. So a world's hosts run many histories one after the other, and each of them begins long
 * after the one before.
 *
 * @module
 */

import { compareStamps, type Stamp } from "../../core/clock/stamp.ts";
import { restampMs } from "../../core/replica/restamp.ts";
import { type RowState, stampOfRow } from "../../core/row/row-state.ts";
import { type Commit, type ScopeHost, textOfStamp } from "./hosts.ts";
import { type Known, rowOf, type Said, type Shown, shownOf } from "./said.ts";
import { isUrgent, saidBy, statements } from "./statements.ts";

export type Step =
  | {
      readonly kind: "write";
      readonly host: number;
      readonly statement: number;
      readonly row: number;
    }
  /** A host gets what another one pushed: the changesets are numbered as they were made. */
  | { readonly kind: "hear"; readonly host: number; readonly message: number }
  /** A host gets a row as another one holds it. */
  | { readonly kind: "repair"; readonly host: number; readonly from: number; readonly row: number }
  | { readonly kind: "restart" | "reload"; readonly host: number }
  /** A host's clock is set: so far ahead of the time. In some of its next steps its peers tell it nothing of theirs. */
  | {
      readonly kind: "clock";
      readonly host: number;
      readonly aheadMs: number;
      readonly quietSteps?: number;
    };

export function textOfStep(step: Step): string {
  const host = `h${step.host}`;
  switch (step.kind) {
    case "write":
      return `${host}: ${statements[step.statement]?.name} (row ${step.row})`;
    case "hear":
      return `${host} hears changeset ${step.message}`;
    case "repair":
      return `${host} gets row ${step.row} of h${step.from}`;
    case "clock":
      return `${host}'s clock is ${step.aheadMs} ms ahead${step.quietSteps ? ", unheard" : ""}`;
    default:
      return `${host}: ${step.kind}`;
  }
}

interface Message {
  readonly origin: number;
  readonly known: Known;
  /** The latest stamp in it. */
  readonly newestMs: number;
  readonly changeset: Uint8Array;
  /** What it says has other stamps now, and nobody has taken it. */
  isVoid: boolean;
}

export interface ScopeWorld {
  readonly hosts: readonly ScopeHost[];
  /** The true time. It goes on from history to history. */
  nowMs: number;
  histories: number;
}

/** Longer than any clock is apart. */
const restMs = 60_000;
/** A stamp that is further ahead of the own clock is refused, while few peers are known. */
const refusedMs = 60_000;

export class History {
  readonly #world: ScopeWorld;
  readonly #stepMs: number;
  readonly #rows: readonly string[];
  readonly #said: Said[] = [];
  readonly #known: Known[];
  readonly #messages: Message[] = [];
  readonly #aheadMs: number[];
  /** How far ahead it was last, of those that can't be right. */
  readonly #faultMs: number[];
  readonly #restarts: number[];
  readonly #quietSteps: number[];
  readonly #texts: string[] = [];

  constructor(world: ScopeWorld, rows: number, stepMs: number) {
    this.#world = world;
    this.#stepMs = stepMs;
    const number = world.histories++;
    this.#rows = Array.from({ length: rows }, (_, row) => `${number}.${row}`);
    world.nowMs += restMs;
    // Whatever the history before did to a clock is over.
    for (const host of world.hosts) host.clocks([0], world.nowMs);
    world.nowMs += restMs;
    this.#known = world.hosts.map(() => new Set<number>());
    this.#aheadMs = world.hosts.map(() => 0);
    this.#faultMs = world.hosts.map(() => 0);
    this.#restarts = world.hosts.map(() => 0);
    this.#quietSteps = world.hosts.map(() => 0);
    for (const host of world.hosts) host.begin(world.nowMs);
  }

  /** Does it, and throws when the host isn't as it has to be then. */
  do(step: Step): void {
    this.#texts.push(textOfStep(step));
    try {
      this.#tellClocks(step.host);
      const isQuiet = (this.#quietSteps[step.host] as number) > 0;
      this.#do(step);
      if (isQuiet) this.#quietSteps[step.host] = (this.#quietSteps[step.host] as number) - 1;
      this.#tellClocks(step.host);
      this.#check(step.host);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new Error(`${this.#texts.join("\n")}\n${why}`, { cause: error });
    }
  }

  #do(step: Step): void {
    const host = this.#world.hosts[step.host] as ScopeHost;
    this.#world.nowMs += this.#stepMs;
    const nowMs = this.#wallMs(step.host);
    switch (step.kind) {
      case "write":
        this.#write(step, host, nowMs);
        return;
      case "hear": {
        const message = this.#messages[step.message] as Message;
        host.hear(message.changeset, nowMs);
        if (message.newestMs <= nowMs + refusedMs) this.#learn(step.host, message.known);
        return;
      }
      case "repair": {
        const row = this.#world.hosts[step.from]?.read(this.#rows[step.row] as string);
        if (row === undefined) return;
        host.hearRow(row, nowMs);
        if (stampOfRow(row).ms <= nowMs + refusedMs)
          this.#learn(step.host, this.#knownOf(step.from, step.row));
        return;
      }
      case "restart":
        this.#restarts[step.host] = 1;
        host.restart(nowMs);
        // A clock goes on up to 250 ms ahead of where it was killed.
        this.#world.nowMs += 300;
        return;
      case "reload":
        host.reload();
        return;
      case "clock":
        this.#aheadMs[step.host] = step.aheadMs;
        this.#quietSteps[step.host] = step.quietSteps ?? 0;
        if (step.aheadMs > restampMs) this.#faultMs[step.host] = step.aheadMs;
        return;
      default:
        step satisfies never;
    }
  }

  #write(step: Extract<Step, { kind: "write" }>, host: ScopeHost, nowMs: number): void {
    const { row, statement: number } = step;
    const statement = statements[number] as (typeof statements)[number];
    const known = this.#known[step.host] as Known;
    const state = rowOf(row, known, this.#said);
    const meant = saidBy(statement, shownOf(state, host.columns), host.columns);
    const isNew = state === undefined && meant?.row !== undefined;
    const isRefused = host.isUnsure && isNew && !isUrgent(meant.row);
    const said = isRefused ? undefined : meant;
    const commit = host.write(statement, this.#rows[row] as string, nowMs);
    if ((commit === undefined) !== (said === undefined)) {
      throw new Error(`it ${said ? "says something" : "says nothing"}, and ${Bun.inspect(commit)}`);
    }
    if (commit === undefined || said === undefined) return;
    const { stamp, lane, changeset } = commit;
    if (lane !== (said.row === undefined || isUrgent(said.row) ? 0 : 1)) {
      throw new Error(`in lane ${lane}`);
    }
    if (stamp.site !== host.site) throw new Error(`stamped by ${stamp.site}`);
    for (const i of known) {
      const before = (this.#said[i] as Said).stamp;
      if (compareStamps(stamp, before) <= 0) throw new Error("stamped before what it knew of");
    }
    const before = state?.clock.cl ?? 0;
    const isOdd = before % 2 === 1;
    const [toOdd, toEven] = isOdd ? [2, 1] : [1, 2];
    const cl = before + (said.life === undefined ? 0 : said.life === "insert" ? toOdd : toEven);
    const isLate = stamp.ms > nowMs + restampMs;
    this.#said.push({ stamp, row, life: said.life, cl, values: said.values, isLate });
    this.#learn(step.host, [this.#said.length - 1]);
    const told = this.#knownOf(step.host, row);
    this.#messages.push({
      origin: step.host,
      known: told,
      newestMs: stamp.ms,
      changeset,
      isVoid: false,
    });
  }

  #tellClocks(index: number): void {
    if ((this.#quietSteps[index] as number) > 0) return;
    const others = this.#aheadMs.filter((_, i) => i !== index);
    const offsetsMs = others.map((ms) => ms - (this.#aheadMs[index] as number));
    const host = this.#world.hosts[index] as ScopeHost;
    const pushed = host.clocks(offsetsMs, this.#wallMs(index));
    if (pushed !== undefined) this.#restamped(index, pushed);
  }

  /** What it said while its clock was far ahead counts from when it was said. What lost to it meanwhile it knows no more. */
  #restamped(index: number, pushed: readonly Commit[]): void {
    const kept = this.#kept(index);
    const host = this.#world.hosts[index] as ScopeHost;
    const limitMs = this.#wallMs(index) + restampMs;
    for (const said of this.#said) {
      if (said.stamp.site !== host.site || said.stamp.ms <= limitMs) continue;
      said.stamp = said.isLate
        ? { ...said.stamp, ms: this.#wallMs(index), count: 1 }
        : { ...said.stamp, ms: said.stamp.ms - (this.#faultMs[index] as number) };
    }
    const known = new Set<number>();
    for (const [i, values] of kept) {
      const said = this.#said[i] as Said;
      if (values.size === said.values.size) known.add(i);
      // Of an INSERT some columns have lost.
      else known.add(this.#said.push({ ...said, values }) - 1);
    }
    for (const message of this.#messages) message.isVoid ||= message.newestMs > limitMs;
    this.#known[index] = known;
    for (const { changeset, stamp } of pushed) {
      this.#messages.push({
        ...{ origin: index, known, newestMs: stamp.ms, changeset, isVoid: false },
      });
    }
  }

  /** What a host holds, by what was said, and of that the columns that haven't lost. */
  #kept(index: number): Map<number, Said["values"]> {
    const kept = new Map<number, Said["values"]>();
    for (const row of this.#rows.keys()) {
      const state = rowOf(row, this.#known[index] as Known, this.#said);
      if (state === undefined) continue;
      for (const i of this.#knownOf(index, row)) {
        const { stamp, values } = this.#said[i] as Said;
        const isOfIt = (one: Stamp) => compareStamps(one, stamp) === 0;
        const columns = state.cells
          .filter((cell) => isOfIt(cell.stamp))
          .map(({ column }) => column);
        if (columns.length === 0 && !isOfIt(state.clock)) continue;
        kept.set(i, new Map([...values].filter(([column]) => columns.includes(column))));
      }
    }
    return kept;
  }

  #learn(host: number, more: Iterable<number>): void {
    this.#known[host] = new Set([...(this.#known[host] as Known), ...more]);
  }

  #knownOf(host: number, row: number): Known {
    const known = [...(this.#known[host] as Known)];
    return new Set(known.filter((i) => this.#said[i]?.row === row));
  }

  #wallMs(host: number): number {
    return this.#world.nowMs + (this.#aheadMs[host] as number);
  }

  #check(index: number): void {
    const host = this.#world.hosts[index] as ScopeHost;
    for (const [row, key] of this.#rows.entries()) {
      const expected = rowOf(row, this.#known[index] as Known, this.#said);
      const held = textOfState(host.read(key));
      if (held !== textOfState(expected)) {
        throw new Error(`h${index} holds ${held}, not ${textOfState(expected)}`);
      }
      const [shown, toShow] = [host.shown(key), shownOf(expected, host.columns)];
      if (textOfShown(shown) !== textOfShown(toShow)) {
        throw new Error(`h${index} shows ${textOfShown(shown)}, not ${textOfShown(toShow)}`);
      }
      const problem = host.indexProblem(key, this.#wallMs(index));
      if (problem !== undefined) throw new Error(`h${index}'s index: ${problem}`);
    }
  }

  /** Steps that deliver something, whether or not it is news. */
  deliveries(): Step[] {
    const steps: Step[] = [];
    for (const host of this.#known.keys()) {
      for (const [message, { isVoid }] of this.#messages.entries()) {
        if (!isVoid) steps.push({ kind: "hear", host, message });
      }
      for (const from of this.#known.keys()) {
        for (const row of this.#rows.keys()) {
          if (host !== from) steps.push({ kind: "repair", host, from, row });
        }
      }
    }
    return steps;
  }

  /** The same of any two histories that nothing can tell apart from here on. */
  state(): string {
    const stamps = this.#said.map(({ stamp }) => stamp).sort(compareStamps);
    const nowMs = this.#world.nowMs;
    const isSteady = this.#aheadMs.every((ms) => ms === 0);
    // While clocks differ it counts how long ago something was said, and not only what was said before what.
    const names = new Map(
      stamps.map((stamp, i) => [
        textOfStamp(stamp),
        isSteady ? `${i}` : `${i}:${stamp.ms - nowMs}`,
      ]),
    );
    const text = (known: Known): string => {
      return this.#rows
        .map((_, row) => textOfState(rowOf(row, known, this.#said), names))
        .join(" | ");
    };
    const hosts = this.#known.map((known, i) => {
      const { columns } = this.#world.hosts[i] as ScopeHost;
      return `${text(known)} ${this.#aheadMs[i]} ${this.#restarts[i]} ${columns.length} ${this.#quietSteps[i]}`;
    });
    const all = [...this.#known];
    const messages = this.#messages.flatMap(({ known, isVoid }) => {
      const isNews = !isVoid && all.some((of) => !known.isSubsetOf(of));
      return isNews ? [text(known)] : [];
    });
    return [...hosts, ...new Set(messages.sort())].join("\n");
  }
}

function textOfState(
  row: Pick<RowState, "clock" | "cells"> | undefined,
  names?: ReadonlyMap<string, string>,
): string {
  if (row === undefined) return "nothing";
  const name = (stamp: Parameters<typeof textOfStamp>[0]): string => {
    const text = textOfStamp(stamp);
    return names?.get(text) ?? text;
  };
  const cells = row.cells.map(({ column, stamp, value }) => ` ${column}@${name(stamp)}=${value}`);
  return `cl ${row.clock.cl}@${name(row.clock)}${cells.join("")}`;
}

function textOfShown(shown: Shown): string {
  return shown === undefined ? "no row" : `${shown.status}, ${shown.weight}`;
}
