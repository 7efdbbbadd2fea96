import { expect, test } from "bun:test";
import { counter, counters, gauge, toExposition } from "./exposition.ts";

test("a family is told with its help and type, then its samples", () => {
  const waiting = gauge("patina_ready", "1 once it is.", true);
  const frames = counters("patina_frames_total", "By kind.", "kind", { root: 2, walk: 0 });
  expect(toExposition([waiting, frames])).toBe(
    [
      "# HELP patina_ready 1 once it is.",
      "# TYPE patina_ready gauge",
      "patina_ready 1",
      "# HELP patina_frames_total By kind.",
      "# TYPE patina_frames_total counter",
      'patina_frames_total{kind="root"} 2',
      'patina_frames_total{kind="walk"} 0',
      "",
    ].join("\n"),
  );
});

test("what isn't known is left out, and not 0", () => {
  expect(toExposition([gauge("lag", "", undefined), counter("count_total", "", null)])).toBe("");
});

test("a label's value may be any text", () => {
  const text = toExposition([
    {
      name: "info",
      type: "gauge",
      help: "a\\b\nc",
      samples: [{ labels: { why: 'a"\\\n' }, value: 1 }],
    },
  ]);
  expect(text).toContain("# HELP info a\\\\b\\nc\n");
  expect(text).toContain('info{why="a\\"\\\\\\n"} 1\n');
});

test("values that are no numbers have the format's own names", () => {
  const values = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e21, 1.5e-7];
  const text = toExposition(values.map((value, i) => gauge(`v${i}`, "", value)));
  const said = [...text.matchAll(/^v\d (.*)$/gm)].map(([, value]) => value);
  expect(said).toEqual(["NaN", "+Inf", "-Inf", "1e+21", "1.5e-7"]);
});
