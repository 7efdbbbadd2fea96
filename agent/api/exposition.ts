/**
 * Metrics as Prometheus scrapes them: its text format 0.0.4.
 *
 * Source: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format".
 *
 * @module
 */

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** One family: samples of one name, told apart by their labels. */
export interface Metric {
  /** With its unit, and `_total` where it counts. */
  readonly name: string;
  /** A counter only grows, and begins anew with the process. */
  readonly type: "counter" | "gauge";
  readonly help: string;
  readonly samples: readonly Sample[];
}

/** What isn't known has no sample. */
type Amount = number | boolean | null | undefined;

/** Of one value. */
export function gauge(name: string, help: string, value: Amount): Metric {
  return { name, type: "gauge", help, samples: one(value) };
}

export function counter(name: string, help: string, value: Amount): Metric {
  return { name, type: "counter", help, samples: one(value) };
}

/** One value for each name of `counts`, which the label says. */
export function gauges(
  name: string,
  help: string,
  label: string,
  counts: Readonly<Record<string, number>>,
): Metric {
  return { name, type: "gauge", help, samples: each(label, counts) };
}

export function counters(
  name: string,
  help: string,
  label: string,
  counts: Readonly<Record<string, number>>,
): Metric {
  return { name, type: "counter", help, samples: each(label, counts) };
}

function one(value: Amount): Sample[] {
  return value === undefined || value === null ? [] : [{ value: Number(value) }];
}

function each(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([name, value]) => ({ labels: { [label]: name }, value }));
}

export const expositionType = "text/plain; version=0.0.4; charset=utf-8";

/**
 * Families without samples are left out.
 *
 * @example
 * ```ts
 * import { toExposition } from "./exposition.ts";
 *
 * const samples = [{ labels: { lane: "bulk" }, value: 3 }];
 * const text = toExposition([{ name: "patina_waiting", type: "gauge", help: "Bodies.", samples }]);
 * expect(text).toEndWith('patina_waiting{lane="bulk"} 3\n');
 * ```
 */
export function toExposition(metrics: readonly Metric[]): string {
  let text = "";
  for (const { name, type, help, samples } of metrics) {
    if (samples.length === 0) continue;
    text += `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n`;
    for (const { labels = {}, value } of samples) {
      text += `${name}${labelsText(labels)} ${numberText(value)}\n`;
    }
  }
  return text;
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`,
  );
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
