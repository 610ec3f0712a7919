// Reads the beginning of a file, never more: a trainer may write files of any size.

import { kit } from "../kit.js";

/**
 * Return the first `limit` bytes of a file as { bytes, isCut }.
 * A server or a proxy may ignore the Range, so that reading stops there too.
 */
export async function readStart(url, limit, size) {
  if (size === 0) return { bytes: new Uint8Array(), isCut: false }; // no byte of it can be asked for
  const headers = { Range: `bytes=0-${limit}` }; // one more, to know whether there is more
  const response = await kit.request(url, { headers, cache: "no-store" });
  const reader = response.body.getReader();
  const bytes = new Uint8Array(limit);
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { bytes: bytes.subarray(0, length), isCut: false };
    bytes.set(value.subarray(0, limit - length), length);
    length += Math.min(value.length, limit - length);
    if (length === limit && value.length > 0) {
      const isCut = value.length > limit - (length - value.length) || !(await reader.read()).done;
      await reader.cancel();
      return { bytes, isCut };
    }
  }
}

/** Return bytes as text, without half a character at the end if they are cut; null if they are none. */
export function textOf({ bytes, isCut }) {
  if (bytes.subarray(0, 8000).includes(0)) return null;
  const text = new TextDecoder().decode(bytes, { stream: isCut });
  const wrong = text.slice(0, 8000).split("\ufffd").length - 1;
  return wrong > 80 ? null : text;
}
