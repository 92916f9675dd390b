// What has to pass every transport bit for bit.

/** Texts that are awkward somewhere: line ends, leading spaces, NUL, BOM, what looks like protocol. */
export const TEXTS = [
  'hello',
  '',
  'x',
  ' leading and trailing ',
  '\r',
  '\n',
  'a\r\nb\rc\nd\n\n',
  '\r\n\r\n',
  '\0',
  'a\0b',
  '\uFEFF',
  '\uFEFFBOM',
  'event: binary\ndata: x\n\nid: 1',
  ': comment',
  'data:no space',
  '\u0001',
  '\u0001\u0001opened {}',
  '\u0001ack 1',
  'ä€😀\u{10FFFF}\uFFFE\u2028\u2029\u0085',
  '{"connection":"x"}',
  't5:hello',
];

/** The same for bytes. */
export const BYTES = [
  Uint8Array.of(),
  Uint8Array.of(0),
  Uint8Array.of(0xef, 0xbb, 0xbf),
  Uint8Array.of(0xff, 0xfe, 0x0d, 0x0a),
  Uint8Array.from({ length: 256 }, (_, i) => i),
];

/** Bytes without a visible pattern, the same in every run. */
export function noise(length, seed = 1) {
  const bytes = new Uint8Array(length);
  let state = seed;
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export const MEBIBYTE = 1 << 20;
