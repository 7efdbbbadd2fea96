/**
 * The table that several benches fill: services of applications, by a text key and with five columns.
 *
 * @module
 */

export const servicesSql = `CREATE TABLE services (
  id TEXT NOT NULL PRIMARY KEY,
  app TEXT NOT NULL DEFAULT '',
  address TEXT NOT NULL DEFAULT '',
  port INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL DEFAULT 'up',
  updated_ms INTEGER NOT NULL DEFAULT 0
);
`;

/** Of one row: key, application, address, port, status, time. */
export const insertServiceSql =
  "INSERT INTO services (id, app, address, port, status, updated_ms) VALUES (?, ?, ?, ?, ?, ?)";

/** What an end state is compared by. */
export const servicesSumSql =
  "SELECT count(*), sum(port), sum(updated_ms), sum(length(app) + length(address)) FROM services";
