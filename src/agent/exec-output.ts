// From the engine's stream of an exec to pieces of standard output and standard error, in the order they came.

export interface OutputPiece {
  stream: 'stdout' | 'stderr';
  bytes: Buffer;
}

const headerBytes = 8;

/** With a terminal the stream is the terminal's own bytes. Nothing is held back: a reader that waits makes the program wait. */
export async function* terminalOutput(stream: AsyncIterable<Buffer>): AsyncGenerator<OutputPiece> {
  for await (const bytes of stream) yield { stream: 'stdout', bytes };
}

/** Without one each frame has 8 bytes in front: stream, three zeros, length (big-endian). */
export async function* splitOutput(stream: AsyncIterable<Buffer>): AsyncGenerator<OutputPiece> {
  let header: Buffer = Buffer.alloc(0);
  let left = 0;
  for await (const chunk of stream) {
    let bytes = chunk;
    while (bytes.length > 0) {
      if (left === 0) {
        const taken = Math.min(headerBytes - header.length, bytes.length);
        header = Buffer.concat([header, bytes.subarray(0, taken)]);
        bytes = bytes.subarray(taken);
        if (header.length < headerBytes) break;
        left = header.readUInt32BE(4);
      }
      const piece = bytes.subarray(0, left);
      if (piece.length > 0) yield { stream: header[0] === 2 ? 'stderr' : 'stdout', bytes: piece };
      left -= piece.length;
      bytes = bytes.subarray(piece.length);
      if (left === 0) header = Buffer.alloc(0);
    }
  }
}
