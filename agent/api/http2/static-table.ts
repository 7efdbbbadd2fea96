/**
 * The static table of HPACK (RFC 7541 Appendix A). Its entries are counted from one.
 *
 * @module
 */

/** A header field. Its bytes are the code units of its strings: as Latin-1 has them. */
export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

const lines = `:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`.split("\n");

export const staticTable: readonly HeaderField[] = lines.map((line) => {
  const space = line.indexOf(" ");
  if (space < 0) return { name: line, value: "" };
  return { name: line.slice(0, space), value: line.slice(space + 1) };
});

/** Where a name is first, counted from one. */
export const staticIndexes: ReadonlyMap<string, number> = new Map(
  staticTable.map(({ name }, i) => [name, i + 1] as const).reverse(),
);
