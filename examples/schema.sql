-- Service discovery: what runs where, and is it up.

CREATE TABLE services (
  name TEXT NOT NULL PRIMARY KEY,
  protocol TEXT NOT NULL DEFAULT 'http',
  owner TEXT NOT NULL DEFAULT '',
  description TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

CREATE TABLE instances (
  id TEXT NOT NULL PRIMARY KEY,
  service TEXT NOT NULL DEFAULT '',
  node TEXT NOT NULL DEFAULT '',
  address TEXT NOT NULL DEFAULT '',
  status TEXT NOT NULL DEFAULT 'down',
  weight INTEGER NOT NULL DEFAULT 100
);

CREATE INDEX instances_by_service ON instances (service, status);

CREATE TABLE checks (
  instance TEXT NOT NULL,
  kind TEXT NOT NULL,
  interval_ms INTEGER NOT NULL DEFAULT 1000,
  passing INTEGER NOT NULL DEFAULT 1,
  output TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (instance, kind)
) WITHOUT ROWID;
