/**
 * User and group ids by name, as `/etc/passwd` and `/etc/group` have them, for the socket's owner.
 *
 * (Names that only a directory service knows are written as numbers.)
 *
 * @module
 */

import { readFileSync } from "node:fs";

/** Undefined when there is none of that name. @param name or its number */
export function idOf(kind: "user" | "group", name: string): number | undefined {
  if (/^\d{1,10}$/.test(name)) return Number(name);
  let text: string;
  try {
    text = readFileSync(kind === "user" ? "/etc/passwd" : "/etc/group", "utf8");
  } catch {
    return undefined;
  }
  // name:password:id:…
  const line = text.split("\n").find((one) => one.startsWith(`${name}:`));
  const id = line?.split(":")[2];
  return id === undefined || !/^\d+$/.test(id) ? undefined : Number(id);
}
