/** JSON in lines, for a conversation over the control socket. */

/** @returns each line without its end; an unfinished last one is dropped. @throws RangeError one is too long */
export async function* linesOf(bytes: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0);
  for await (const chunk of bytes) {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      yield rest.subarray(0, end);
      rest = rest.subarray(end + 1);
    }
    if (rest.length > maxBytes) throw new RangeError(`a line has ${maxBytes} bytes at most`);
  }
}

export function lineOf(value: object): string {
  return `${JSON.stringify(value)}\n`;
}
