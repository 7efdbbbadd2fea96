/**
 * How many frames of the WAL may wait to be copied into the database (`checkpointer.ts`).
 *
 * @module
 */

/** A round is begun for as many: a millisecond of copying. */
export const roundFrames = 300;
/** A round copies about as many in one turn, while there are marks. */
export const pieceFrames = 100;
/** While a node catches up nobody is served by it yet. */
export const roundFramesCatchingUp = 4000;
/** 64 MB. A longer WAL is brought to its beginning. */
export const walFramesMax = 16_000;
/** Copied by an ordinary checkpoint, so few that its syncs are short. */
export const restFramesMax = 64;
/** Before the page of a frame. */
export const frameHeadBytes = 24;
/** A frame of a file as the store makes it. */
export const walFrameBytes: number = 4096 + frameHeadBytes;
/** Before the first frame. */
export const walHeadBytes = 32;
/** Cut off a WAL in one turn, some 2 ms. */
export const cutBytesMax: number = 4 * 1024 * 1024;
