/**
 * Names as files and answers have them: `queryTimeoutMs` is `query_timeout_ms`.
 *
 * @module
 */

type SnakeName<Name extends string> = Name extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${SnakeName<Rest>}`
  : "";

/** The same data under the names that answers have. */
export type SnakeCased<T> = T extends string | number | boolean | null | undefined
  ? T
  : T extends readonly (infer Item)[]
    ? readonly SnakeCased<Item>[]
    : { readonly [Name in keyof T & string as SnakeName<Name>]: SnakeCased<T[Name]> };

/** What is no name (a reason that something is counted by) stays. */
function snakeCase(name: string): string {
  return !/^\w+$/.test(name)
    ? name
    : name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Plain data, renamed to its depth. */
export function snakeCased<T>(value: T): SnakeCased<T> {
  return renamed(value) as SnakeCased<T>;
}

function renamed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(renamed);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [snakeCase(name), renamed(inner)]),
  );
}
