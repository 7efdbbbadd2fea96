/**
 * A row of a live query: as it is read, as it is held, and as its readers have it.
 *
 * @module
 */

/** A row as it is read: what names it, and `["a",1]`. */
export interface ReadRow {
  readonly identity: string;
  readonly cells: string;
}

export interface Row {
  readonly rowId: number;
  /** `["a",1]` */
  readonly cells: string;
}

/** A row as readers have it. */
export interface HeldRow {
  readonly identity: string;
  readonly row: Row;
  /** Where it stood when it was read: found there, it needn't be looked for among many that are equal. */
  readonly place?: number | undefined;
}
