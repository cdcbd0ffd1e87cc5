// Edited code as a part of the page's address: nothing is kept anywhere else, and no server sees it.

const MARK = "#edited=";

async function through(stream, data) {
  return new Uint8Array(await new Response(new Blob([data]).stream().pipeThrough(stream)).arrayBuffer());
}

// The address of this page with *texts* in it: pairs of a block's key and its text.
export async function linkWith(texts) {
  const bytes = await through(new CompressionStream("deflate-raw"), JSON.stringify(texts));
  const packed = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  const safe = packed.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return `${location.href.split("#")[0]}${MARK}${safe}`;
}

// What linkWith() was given, or null where the address has no code. Throws for one that was cut or made up.
export async function textsOfLink() {
  if (!location.hash.startsWith(MARK)) return null;
  const packed = location.hash.slice(MARK.length).replaceAll("-", "+").replaceAll("_", "/");
  const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
  const texts = JSON.parse(new TextDecoder().decode(await through(new DecompressionStream("deflate-raw"), bytes)));
  if (!texts.every(([key, text]) => typeof key === "string" && typeof text === "string")) throw new TypeError("no texts");
  return texts;
}
