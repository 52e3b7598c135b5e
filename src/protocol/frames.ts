// Frames on a byte stream: one byte of channel, four bytes of length (big-endian), then the payload.

const headerBytes = 5;
/** A frame larger than this is not ours. */
const maxPayloadBytes = 1024 * 1024;

export interface Frame {
  channel: number;
  payload: Uint8Array;
}

export function encodeFrame({ channel, payload }: Frame): Uint8Array {
  const frame = new Uint8Array(headerBytes + payload.length);
  frame[0] = channel;
  new DataView(frame.buffer).setUint32(1, payload.length);
  frame.set(payload, headerBytes);
  return frame;
}

/** Cuts incoming bytes into frames; throws when they cannot be frames. */
export class FrameReader {
  #rest: Uint8Array = new Uint8Array(0);

  read(bytes: Uint8Array): Frame[] {
    let data = this.#rest.length === 0 ? bytes : joined(this.#rest, bytes);
    const frames: Frame[] = [];
    while (data.length >= headerBytes) {
      const length = new DataView(data.buffer, data.byteOffset).getUint32(1);
      if (length > maxPayloadBytes) throw new Error(`A frame of ${length} bytes is too large.`);
      if (data.length < headerBytes + length) break;
      frames.push({
        channel: data[0] ?? 0,
        payload: copyOf(data.subarray(headerBytes, headerBytes + length)),
      });
      data = data.subarray(headerBytes + length);
    }
    this.#rest = copyOf(data);
    return frames;
  }
}

/** Not slice(): a Buffer's would share the memory. */
function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const all = new Uint8Array(a.length + b.length);
  all.set(a);
  all.set(b, a.length);
  return all;
}
