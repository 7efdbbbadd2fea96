/**
 * @module
 */

import packageJson from "../package.json" with { type: "json" };

export const version: string = packageJson.version;

/**
 * A clock that shows an earlier time has never been set: machines without one begin in 1970, or at their firmware's date. Years
 * before this release, so that a clock that is only wrong is judged by its peers'.
 */
export const clockFloorMs: number = Date.UTC(2024, 0, 1);
