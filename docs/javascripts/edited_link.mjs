// Edited code as a part of the page's address: nothing is kept anywhere else, and no server sees it.

const MARK = "#edited=";
// A short link can unpack to more than a page can show.
const MOST_BYTES = 500_000;

const replaceState = history.replaceState.bind(history);
// The theme writes the section that is in view into the address, which would be the end of the link.
history.replaceState = (state, title, address) => {
  const next = new URL(address ?? location.href, location.href);
  const isSection = next.href.split("#")[0] === withoutLink() && !next.hash.startsWith(MARK);
  if (!hasLink() || !isSection) replaceState(state, title, address);
};

export function hasLink() {
  return location.hash.startsWith(MARK);
}

export function withoutLink() {
  return location.href.split("#")[0];
}

export function setAddress(link) {
  replaceState(history.state, "", link);
}

async function through(stream, data) {
  const reader = new Blob([data]).stream().pipeThrough(stream).getReader();
  const parts = [];
  let size = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    size += part.value.length;
    if (size > MOST_BYTES) throw new RangeError("The code is too long for a link.");
    parts.push(part.value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

// The address of this page with *texts* in it: pairs of a block's key and its text. Throws if they are too long.
export async function linkWith(texts) {
  const text = new TextEncoder().encode(JSON.stringify(texts));
  if (text.length > MOST_BYTES) throw new RangeError("The code is too long for a link.");
  const bytes = await through(new CompressionStream("deflate-raw"), text);
  const packed = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  const safe = packed.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${withoutLink()}${MARK}${safe}`;
}

// What linkWith() was given, or null where the address has no code. Throws for one that was cut or made up.
export async function textsOfLink() {
  if (!hasLink()) return null;
  const packed = location.hash.slice(MARK.length).replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
  const texts = JSON.parse(new TextDecoder().decode(await through(new DecompressionStream("deflate-raw"), bytes)));
  if (!texts.every(([key, text]) => typeof key === "string" && typeof text === "string")) throw new TypeError("no texts");
  return texts;
}
