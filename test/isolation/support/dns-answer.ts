// The answer of a name server that knows one address for every name.

/** The question again, with one A record (203.0.113.2) that points back at its name; none for other types. */
export function answerTo(question: Buffer): Buffer {
  const end = question.indexOf(0, 12) + 5;
  const isAddress = question.readUInt16BE(end - 4) === 1;
  const header = Buffer.from(question.subarray(0, 12));
  header.writeUInt16BE(0x8180, 2);
  header.writeUInt16BE(isAddress ? 1 : 0, 6);
  header.writeUInt32BE(0, 8);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 2]);
  return Buffer.concat([header, question.subarray(12, end), ...(isAddress ? [record] : [])]);
}
