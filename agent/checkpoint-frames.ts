/**
 * How many frames of the WAL may wait to be copied into the database before a checkpoint is due.
 *
 * @module
 */

/**
 * While there is other work. A checkpoint can't be interrupted, and costs two fsyncs and the distinct pages
 * among its frames: so the number follows from what the last ones took.
 */
export const checkpointFramesMin = 200;
export const checkpointFramesMax = 1600;
export const checkpointMsMax = 8;
/** While a node catches up nobody is served by it yet, and syncs would be most of its time: 64 MB of WAL. */
export const checkpointFramesCatchingUp = 16_000;
