/**
 * A WebAssembly module made at start-up: the joints between SQLite's C function pointers and ours.
 *
 * A JavaScript function can't be put into a function table; a WebAssembly function can. So every
 * callback gets one that forwards to it, and since it stands between the two anyway it also takes
 * 64-bit integers apart: a BigInt costs an allocation on every crossing (20 ns against 5), and most
 * of these integers are file offsets and rowids below 2**53.
 *
 * Parameters, one letter each:
 *
 * | letter | SQLite passes | JavaScript sees                        |
 * | ------ | ------------- | -------------------------------------- |
 * | `i`    | i32, pointer  | number                                 |
 * | `d`    | f64           | number                                 |
 * | `j`    | i64           | two i32: low word, then high word      |
 *
 * *Callbacks* are called by SQLite. *Calls* go the other way: they wrap an export that takes an i64
 * and take an f64 in its place, which the caller guarantees to be an integer within int64.
 *
 * @module
 */

export interface TrampolineSignature {
  /** As SQLite declares it, letters above. */
  readonly params: string;
  readonly result: "i" | "v";
}

export interface Trampolines {
  /** Function to be put into SQLite's table, by callback name. */
  readonly callbacks: ReadonlyMap<string, CallableFunction>;
  /** Wrapped export, by its name. */
  readonly calls: ReadonlyMap<string, CallableFunction>;
}

export const I32: number = 0x7f;
export const I64: number = 0x7e;
export const F64: number = 0x7c;

// Opcodes.
const LOCAL_GET = 0x20;
const CALL = 0x10;
const END = 0x0b;
const I64_CONST = 0x42;
const I64_SHR_S = 0x87;
const I32_WRAP_I64 = 0xa7;
const I64_TRUNC_F64_S = 0xb0;

/**
 * Builds the module and its instance.
 *
 * @param callbacks what SQLite will call, with the function that answers; it must not throw.
 * @param calls exports of SQLite to wrap.
 */
export function createTrampolines(
  callbacks: ReadonlyMap<string, TrampolineSignature & { readonly target: CallableFunction }>,
  calls: ReadonlyMap<string, TrampolineSignature & { readonly target: CallableFunction }>,
): Trampolines {
  const types: number[][] = [];
  const imports: number[][] = [];
  const functions: number[][] = [];
  const exports: number[][] = [];
  const bodies: number[][] = [];
  const targets: Record<string, CallableFunction> = {};
  const count = callbacks.size + calls.size;
  let index = 0;

  const add = (name: string, from: number[], to: number[], result: string, body: number[]) => {
    const results = result === "i" ? [1, I32] : [0];
    types.push([0x60, ...unsigned(to.length), ...to, ...results]);
    types.push([0x60, ...unsigned(from.length), ...from, ...results]);
    imports.push([...text("t"), ...text(name), 0x00, ...unsigned(2 * index)]);
    functions.push(unsigned(2 * index + 1));
    // Imported functions are numbered first, then those defined here.
    exports.push([...text(name), 0x00, ...unsigned(count + index)]);
    const code = [0x00, ...body, CALL, ...unsigned(index), END];
    bodies.push([...unsigned(code.length), ...code]);
    index += 1;
  };

  for (const [name, { params, result, target }] of callbacks) {
    const from: number[] = [];
    const to: number[] = [];
    const body: number[] = [];
    for (const [at, letter] of [...params].entries()) {
      const get = [LOCAL_GET, ...unsigned(at)];
      if (letter === "j") {
        from.push(I64);
        to.push(I32, I32);
        body.push(...get, I32_WRAP_I64, ...get, I64_CONST, 32, I64_SHR_S, I32_WRAP_I64);
      } else {
        const type = letter === "d" ? F64 : I32;
        from.push(type);
        to.push(type);
        body.push(...get);
      }
    }
    targets[name] = target;
    add(name, from, to, result, body);
  }
  for (const [name, { params, result, target }] of calls) {
    const from: number[] = [];
    const to: number[] = [];
    const body: number[] = [];
    for (const [at, letter] of [...params].entries()) {
      body.push(LOCAL_GET, ...unsigned(at));
      if (letter === "j") {
        from.push(F64);
        to.push(I64);
        body.push(I64_TRUNC_F64_S);
      } else {
        const type = letter === "d" ? F64 : I32;
        from.push(type);
        to.push(type);
      }
    }
    targets[name] = target;
    add(name, from, to, result, body);
  }

  const bytes = new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, types),
    ...section(2, imports),
    ...section(3, functions),
    ...section(7, exports),
    ...section(10, bodies),
  ]);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
    t: targets as Bun.WebAssembly.ModuleImports,
  });
  const pick = (names: Iterable<string>) =>
    new Map([...names].map((name) => [name, instance.exports[name] as CallableFunction]));
  return { callbacks: pick(callbacks.keys()), calls: pick(calls.keys()) };
}

/** LEB128. */
export function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  bytes.push(rest);
  return bytes;
}

export function text(value: string): number[] {
  return [...unsigned(value.length), ...Buffer.from(value, "latin1")];
}

export function section(id: number, items: number[][]): number[] {
  const body = [...unsigned(items.length), ...items.flat()];
  return [id, ...unsigned(body.length), ...body];
}
