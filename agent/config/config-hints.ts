/**
 * What makes a problem of the configuration easy to mend: where the key stands, and which one was meant.
 *
 * @module
 */

/** Where a section or key stands: smol-toml doesn't keep that. Undefined when it is written in a rarer way. */
export function locate(
  text: string,
  section: string,
  key: string | undefined,
): { readonly line: number; readonly column: number } | undefined {
  let here = "";
  let sectionAt: { line: number; column: number } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const header = /^\s*\[+\s*([^\]]*?)\s*\]+/.exec(line);
    const bare = (name: string) => name.replaceAll(/["'\s]/g, "");
    if (header !== null) {
      here = bare(header[1] as string);
      if (here === section || here.startsWith(`${section}.`)) {
        sectionAt ??= { line: index + 1, column: line.indexOf("[") + 1 };
        if (key === undefined) return sectionAt;
      }
      continue;
    }
    const entry = /^(\s*)([\w."'-]+(?:\s*\.\s*[\w"'-]+)*)\s*=/.exec(line);
    if (entry === null) continue;
    const path = here === "" ? bare(entry[2] as string) : `${here}.${bare(entry[2] as string)}`;
    const wanted = key === undefined ? section : `${section}.${key}`;
    if (path === wanted || path.startsWith(`${wanted}.`)) {
      return { line: index + 1, column: (entry[1] as string).length + 1 };
    }
  }
  return sectionAt;
}

/** `; did you mean …?`, or the list when it is short. */
export function suggest(name: string, known: readonly string[]): string {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  if (best !== undefined) return `; did you mean ${best}?`;
  return known.length <= 12 ? ` (known: ${known.join(", ")})` : "";
}

/** Levenshtein's. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}
