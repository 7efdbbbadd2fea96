/**
 * @module
 */

import packageJson from "../package.json" with { type: "json" };

export const version: string = packageJson.version;

/**
 * A clock that shows an earlier time has never been set. Raised with each release, and never ahead of it: hosts whose clocks
 * are right must not take each other for wrong.
 */
export const clockFloorMs: number = Date.UTC(2026, 0, 1);
