/**
 * SQLite's own numbers, spelled as SQLite spells them (sqlite3.h, 3.54). Only those in use.
 *
 * @module
 */

// Result codes.
export const SQLITE_OK = 0;
export const SQLITE_ERROR = 1;
export const SQLITE_INTERNAL = 2;
export const SQLITE_PERM = 3;
export const SQLITE_ABORT = 4;
export const SQLITE_BUSY = 5;
export const SQLITE_LOCKED = 6;
export const SQLITE_NOMEM = 7;
export const SQLITE_READONLY = 8;
export const SQLITE_INTERRUPT = 9;
export const SQLITE_IOERR = 10;
export const SQLITE_CORRUPT = 11;
export const SQLITE_NOTFOUND = 12;
export const SQLITE_FULL = 13;
export const SQLITE_CANTOPEN = 14;
export const SQLITE_SCHEMA = 17;
export const SQLITE_TOOBIG = 18;
export const SQLITE_CONSTRAINT = 19;
export const SQLITE_MISMATCH = 20;
export const SQLITE_MISUSE = 21;
export const SQLITE_AUTH = 23;
export const SQLITE_RANGE = 25;
export const SQLITE_NOTADB = 26;
export const SQLITE_ROW = 100;
export const SQLITE_DONE = 101;

// Extended result codes: the primary code in the low byte.
export const SQLITE_IOERR_READ: number = SQLITE_IOERR | (1 << 8);
export const SQLITE_IOERR_SHORT_READ: number = SQLITE_IOERR | (2 << 8);
export const SQLITE_IOERR_WRITE: number = SQLITE_IOERR | (3 << 8);
export const SQLITE_IOERR_FSYNC: number = SQLITE_IOERR | (4 << 8);
export const SQLITE_IOERR_DIR_FSYNC: number = SQLITE_IOERR | (5 << 8);
export const SQLITE_IOERR_TRUNCATE: number = SQLITE_IOERR | (6 << 8);
export const SQLITE_IOERR_FSTAT: number = SQLITE_IOERR | (7 << 8);
export const SQLITE_IOERR_DELETE: number = SQLITE_IOERR | (10 << 8);
export const SQLITE_IOERR_NOMEM: number = SQLITE_IOERR | (12 << 8);
export const SQLITE_IOERR_ACCESS: number = SQLITE_IOERR | (13 << 8);
export const SQLITE_IOERR_LOCK: number = SQLITE_IOERR | (15 << 8);
export const SQLITE_IOERR_CLOSE: number = SQLITE_IOERR | (16 << 8);
export const SQLITE_IOERR_DELETE_NOENT: number = SQLITE_IOERR | (23 << 8);
export const SQLITE_CANTOPEN_ISDIR: number = SQLITE_CANTOPEN | (2 << 8);
export const SQLITE_READONLY_DIRECTORY: number = SQLITE_READONLY | (6 << 8);
export const SQLITE_CONSTRAINT_CHECK: number = SQLITE_CONSTRAINT | (1 << 8);
export const SQLITE_CONSTRAINT_NOTNULL: number = SQLITE_CONSTRAINT | (5 << 8);
export const SQLITE_CONSTRAINT_PRIMARYKEY: number = SQLITE_CONSTRAINT | (6 << 8);
export const SQLITE_CONSTRAINT_UNIQUE: number = SQLITE_CONSTRAINT | (8 << 8);

// Storage classes, as sqlite3_column_type and sqlite3_value_type tell them.
export const SQLITE_INTEGER = 1;
export const SQLITE_FLOAT = 2;
export const SQLITE_TEXT = 3;
export const SQLITE_BLOB = 4;
export const SQLITE_NULL = 5;

// sqlite3_open_v2 and xOpen.
export const SQLITE_OPEN_READONLY = 0x1;
export const SQLITE_OPEN_READWRITE = 0x2;
export const SQLITE_OPEN_CREATE = 0x4;
export const SQLITE_OPEN_DELETEONCLOSE = 0x8;
export const SQLITE_OPEN_EXCLUSIVE = 0x10;
export const SQLITE_OPEN_MAIN_DB = 0x100;
export const SQLITE_OPEN_MAIN_JOURNAL = 0x800;
export const SQLITE_OPEN_NOMUTEX = 0x8000;
export const SQLITE_OPEN_WAL = 0x80000;
export const SQLITE_OPEN_EXRESCODE = 0x2000000;

// Lock levels of a main database file.
export const SQLITE_LOCK_NONE = 0;
export const SQLITE_LOCK_SHARED = 1;
export const SQLITE_LOCK_RESERVED = 2;
export const SQLITE_LOCK_PENDING = 3;
export const SQLITE_LOCK_EXCLUSIVE = 4;

// xShmLock.
export const SQLITE_SHM_UNLOCK = 1;
export const SQLITE_SHM_EXCLUSIVE = 8;
export const SQLITE_SHM_NLOCK = 8;

// xAccess.
export const SQLITE_ACCESS_EXISTS = 0;
export const SQLITE_ACCESS_READWRITE = 1;

// xDeviceCharacteristics.
export const SQLITE_IOCAP_POWERSAFE_OVERWRITE = 0x1000;

// xFileControl.
export const SQLITE_FCNTL_LAST_ERRNO = 4;
export const SQLITE_FCNTL_HAS_MOVED = 20;

// sqlite3_prepare_v3.
export const SQLITE_PREPARE_PERSISTENT = 1;

// sqlite3_create_function.
export const SQLITE_UTF8 = 1;
export const SQLITE_DETERMINISTIC = 0x800;
export const SQLITE_DIRECTONLY = 0x80000;
export const SQLITE_INNOCUOUS = 0x200000;
export const SQLITE_RESULT_SUBTYPE = 0x1000000;

// Answers of an authorizer, and its actions.
export const SQLITE_DENY = 1;
export const SQLITE_IGNORE = 2;
export const SQLITE_DELETE = 9;
export const SQLITE_INSERT = 18;
export const SQLITE_PRAGMA = 19;
export const SQLITE_READ = 20;
export const SQLITE_SELECT = 21;
export const SQLITE_TRANSACTION = 22;
export const SQLITE_UPDATE = 23;
export const SQLITE_ATTACH = 24;
export const SQLITE_DETACH = 25;
export const SQLITE_REINDEX = 27;
export const SQLITE_ANALYZE = 28;
export const SQLITE_CREATE_VTABLE = 29;
export const SQLITE_DROP_VTABLE = 30;
export const SQLITE_FUNCTION = 31;
export const SQLITE_SAVEPOINT = 32;
export const SQLITE_RECURSIVE = 33;

// sqlite3_db_config.
export const SQLITE_DBCONFIG_DEFENSIVE = 1010;
export const SQLITE_DBCONFIG_TRUSTED_SCHEMA = 1017;

// sqlite3_limit.
export const SQLITE_LIMIT_LENGTH = 0;
export const SQLITE_LIMIT_FUNCTION_ARG = 6;
export const SQLITE_LIMIT_ATTACHED = 7;
export const SQLITE_LIMIT_LIKE_PATTERN_LENGTH = 8;

// sqlite3_txn_state.
export const SQLITE_TXN_NONE = 0;
export const SQLITE_TXN_READ = 1;
export const SQLITE_TXN_WRITE = 2;

const codeNames: ReadonlyMap<number, string> = new Map([
  [SQLITE_ERROR, "SQLITE_ERROR"],
  [SQLITE_INTERNAL, "SQLITE_INTERNAL"],
  [SQLITE_PERM, "SQLITE_PERM"],
  [SQLITE_ABORT, "SQLITE_ABORT"],
  [SQLITE_BUSY, "SQLITE_BUSY"],
  [SQLITE_LOCKED, "SQLITE_LOCKED"],
  [SQLITE_NOMEM, "SQLITE_NOMEM"],
  [SQLITE_READONLY, "SQLITE_READONLY"],
  [SQLITE_INTERRUPT, "SQLITE_INTERRUPT"],
  [SQLITE_IOERR, "SQLITE_IOERR"],
  [SQLITE_CORRUPT, "SQLITE_CORRUPT"],
  [SQLITE_NOTFOUND, "SQLITE_NOTFOUND"],
  [SQLITE_FULL, "SQLITE_FULL"],
  [SQLITE_CANTOPEN, "SQLITE_CANTOPEN"],
  [15, "SQLITE_PROTOCOL"],
  [SQLITE_SCHEMA, "SQLITE_SCHEMA"],
  [SQLITE_TOOBIG, "SQLITE_TOOBIG"],
  [SQLITE_CONSTRAINT, "SQLITE_CONSTRAINT"],
  [SQLITE_MISMATCH, "SQLITE_MISMATCH"],
  [SQLITE_MISUSE, "SQLITE_MISUSE"],
  [SQLITE_AUTH, "SQLITE_AUTH"],
  [SQLITE_RANGE, "SQLITE_RANGE"],
  [SQLITE_NOTADB, "SQLITE_NOTADB"],
  [SQLITE_IOERR_READ, "SQLITE_IOERR_READ"],
  [SQLITE_IOERR_SHORT_READ, "SQLITE_IOERR_SHORT_READ"],
  [SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE"],
  [SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"],
  [SQLITE_IOERR_DIR_FSYNC, "SQLITE_IOERR_DIR_FSYNC"],
  [SQLITE_IOERR_TRUNCATE, "SQLITE_IOERR_TRUNCATE"],
  [SQLITE_IOERR_FSTAT, "SQLITE_IOERR_FSTAT"],
  [SQLITE_IOERR_DELETE, "SQLITE_IOERR_DELETE"],
  [SQLITE_IOERR_NOMEM, "SQLITE_IOERR_NOMEM"],
  [SQLITE_IOERR_ACCESS, "SQLITE_IOERR_ACCESS"],
  [SQLITE_IOERR_LOCK, "SQLITE_IOERR_LOCK"],
  [SQLITE_IOERR_CLOSE, "SQLITE_IOERR_CLOSE"],
  [SQLITE_CANTOPEN_ISDIR, "SQLITE_CANTOPEN_ISDIR"],
  [SQLITE_READONLY_DIRECTORY, "SQLITE_READONLY_DIRECTORY"],
  [SQLITE_CONSTRAINT_CHECK, "SQLITE_CONSTRAINT_CHECK"],
  [SQLITE_CONSTRAINT_NOTNULL, "SQLITE_CONSTRAINT_NOTNULL"],
  [SQLITE_CONSTRAINT_PRIMARYKEY, "SQLITE_CONSTRAINT_PRIMARYKEY"],
  [SQLITE_CONSTRAINT_UNIQUE, "SQLITE_CONSTRAINT_UNIQUE"],
]);

/** SQLite's name of a result code; an extended code without a name here gets its primary's. */
export function codeName(code: number): string {
  return codeNames.get(code) ?? codeNames.get(code & 0xff) ?? `SQLITE_${code}`;
}
