/**
 * The UDX packet, version 1: what its bytes are, how they are read and written.
 *
 * UDX carries many reliable, ordered, congestion-controlled byte streams over UDP. There is no
 * handshake: both sides learn the other's stream id, address and first sequence number by other
 * means (Hyperswarm's Noise payload) and start sending. There is no authentication or encryption
 * either; whoever knows a 32-bit stream id can inject packets, so what runs above (secret-stream)
 * authenticates every byte.
 *
 * Every packet starts with this header. Integers are little-endian.
 *
 * | offset | size | field                                                                        |
 * |-------:|-----:|------------------------------------------------------------------------------|
 * |      0 |    1 | magic, 0xff                                                                  |
 * |      1 |    1 | version, 1                                                                   |
 * |      2 |    1 | type, a set of flags (below); 0 is a pure acknowledgement                    |
 * |      3 |    1 | data offset: bytes between this header and the payload                       |
 * |      4 |    4 | stream id, as the *receiver* of the packet knows it                          |
 * |      8 |    4 | receive window: bytes that the sender of this packet will still buffer       |
 * |     12 |    4 | sequence number (counts packets, not bytes)                                  |
 * |     16 |    4 | acknowledgement: the next sequence number expected from the receiver         |
 * |     20 |    n | `data offset` bytes of SACK blocks or padding, then the payload              |
 *
 * | flag | type      | sequence | meaning                                                          |
 * |-----:|-----------|----------|------------------------------------------------------------------|
 * |    1 | DATA      | one      | the payload is the next bytes of the stream                      |
 * |    2 | END       | one      | the stream ends after this packet; may be combined with DATA     |
 * |    4 | SACK      | none     | blocks follow the header; may be combined with DATA              |
 * |    8 | MESSAGE   | none     | the payload is one datagram: unordered, unreliable               |
 * |   16 | DESTROY   | one      | the sender has dropped the stream: the receiver resets it        |
 * |   32 | HEARTBEAT | none     | asks for an acknowledgement: keepalive and zero-window probe     |
 *
 * "one" in the sequence column: the packet takes a sequence number, the next one is one higher. The
 * other types carry the number the next DATA packet will have. The first number is 0 unless both
 * sides agreed on another. Numbers wrap at 2**32.
 *
 * A SACK block is two u32, `[start, end)`: packets received beyond the acknowledgement. With a data
 * offset of 0 the blocks fill the packet; otherwise they fill `data offset` bytes and payload
 * follows.
 *
 * A DATA packet with a data offset and no SACK flag is a path MTU probe: the offset is zero bytes of
 * padding, at most 255.
 *
 * An implementation answers each DATA, END and HEARTBEAT packet with an acknowledgement; several may
 * be answered by one. DESTROY is sent once and not acknowledged.
 *
 * @module
 */

/** Bytes before the SACK blocks, padding or payload. */
export const HEADER_BYTES = 20;

const MAGIC = 0xff;
const VERSION = 1;

export const TYPE_DATA = 1;
export const TYPE_END = 2;
export const TYPE_SACK = 4;
export const TYPE_MESSAGE = 8;
export const TYPE_DESTROY = 16;
export const TYPE_HEARTBEAT = 32;

/** IP, UDP and UDX headers of a packet: what a payload has to leave free of the path MTU. */
export const OVERHEAD_IPV4_BYTES: number = 20 + 8 + HEADER_BYTES;
export const OVERHEAD_IPV6_BYTES: number = 40 + 8 + HEADER_BYTES;

/** SACK blocks in one packet: 400 bytes of them. */
export const SACK_BLOCKS_MAX = 50;

/** A decoded packet. Its byte fields are offsets into the datagram it was read from. */
export interface Packet {
  type: number;
  /** The stream's id on the side that received this packet. */
  streamId: number;
  windowBytes: number;
  seq: number;
  ack: number;
  /** Count of SACK blocks; they start at byte 20. */
  sackBlocks: number;
  /** Payload is `[payloadStart, payloadEnd)`. */
  payloadStart: number;
  payloadEnd: number;
}

export function createPacket(): Packet {
  return {
    type: 0,
    streamId: 0,
    windowBytes: 0,
    seq: 0,
    ack: 0,
    sackBlocks: 0,
    payloadStart: 0,
    payloadEnd: 0,
  };
}

/** Reads a u32. `offset + 4` must not exceed the length: callers have checked it. */
export function readU32(bytes: Uint8Array, offset: number): number {
  // biome-ignore lint/style/noNonNullAssertion: the length is the caller's promise
  const low = bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16);
  // biome-ignore lint/style/noNonNullAssertion: as above
  return (low | (bytes[offset + 3]! << 24)) >>> 0;
}

export function writeU32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

/** Whether a datagram claims to be UDX. DHT packets never start with these two bytes. */
export function isUdxPacket(bytes: Uint8Array): boolean {
  return bytes.length >= HEADER_BYTES && bytes[0] === MAGIC && bytes[1] === VERSION;
}

/** The stream a UDX packet is for. */
export function streamIdOf(bytes: Uint8Array): number {
  return readU32(bytes, 4);
}

/**
 * Reads a packet into `into` and returns true, or returns false for anything that isn't one; `into`
 * is then undefined. Never throws. Allocates nothing.
 */
export function decodePacket(bytes: Uint8Array, into: Packet): boolean {
  if (!isUdxPacket(bytes)) return false;
  // biome-ignore lint/style/noNonNullAssertion: isUdxPacket has checked the length
  const type = bytes[2]!;
  // biome-ignore lint/style/noNonNullAssertion: as above
  const dataOffset = bytes[3]!;
  const bodyBytes = bytes.length - HEADER_BYTES;
  if (dataOffset > bodyBytes) return false;

  into.type = type;
  into.streamId = readU32(bytes, 4);
  into.windowBytes = readU32(bytes, 8);
  into.seq = readU32(bytes, 12);
  into.ack = readU32(bytes, 16);
  into.payloadStart = HEADER_BYTES + dataOffset;
  into.payloadEnd = bytes.length;
  into.sackBlocks = 0;
  if ((type & TYPE_SACK) !== 0) {
    const sackBytes = dataOffset === 0 ? bodyBytes : dataOffset;
    into.sackBlocks = Math.min(sackBytes >>> 3, SACK_BLOCKS_MAX);
    // Without an offset the blocks were the whole body: nothing is left for a payload.
    if (dataOffset === 0) into.payloadStart = bytes.length;
  }
  return true;
}

/** Writes the header's 20 bytes, with a data offset of 0. Numbers are taken modulo 2**32. */
export function encodeHeader(
  bytes: Uint8Array,
  type: number,
  streamId: number,
  windowBytes: number,
  seq: number,
  ack: number,
): void {
  bytes[0] = MAGIC;
  bytes[1] = VERSION;
  bytes[2] = type;
  bytes[3] = 0;
  writeU32(bytes, 4, streamId);
  writeU32(bytes, 8, windowBytes);
  writeU32(bytes, 12, seq);
  writeU32(bytes, 16, ack);
}

/**
 * The number nearest to `reference` that is equal to `wire` modulo 2**32. Sequence numbers are kept
 * as numbers that never wrap (2**53 packets are 8 exabytes) and cut to 32 bits on the wire only.
 */
export function unwrap(reference: number, wire: number): number {
  return reference + ((wire - reference) | 0);
}
