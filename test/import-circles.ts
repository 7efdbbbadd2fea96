/**
 * Finds circles of imports: files that can only be understood together.
 *
 * @module
 */

/**
 * The groups of files that reach each other through imports (strongly connected components of more than one), each
 * sorted.
 *
 * Source: Tarjan, "Depth-first search and linear graph algorithms", SIAM Journal on Computing 1(2), 1972.
 */
export function importCircles(imports: readonly { file: string; from: string }[]): string[][] {
  const importsByFile = new Map<string, string[]>();
  for (const { file, from } of imports) {
    const known = importsByFile.get(file);
    if (known === undefined) importsByFile.set(file, [from]);
    else known.push(from);
  }
  const order = new Map<string, number>();
  const waiting: string[] = [];
  const circles: string[][] = [];

  function visit(file: string): number {
    const index = order.size;
    let lowest = index;
    order.set(file, index);
    waiting.push(file);
    for (const next of importsByFile.get(file) ?? []) {
      if (!order.has(next)) lowest = Math.min(lowest, visit(next));
      else if (waiting.includes(next)) lowest = Math.min(lowest, order.get(next) as number);
    }
    if (lowest === index) {
      const circle = waiting.splice(waiting.indexOf(file));
      if (circle.length > 1) circles.push(circle.sort());
    }
    return lowest;
  }

  for (const file of importsByFile.keys()) if (!order.has(file)) visit(file);
  return circles;
}
