// Images that a message names by their addresses; nothing is uploaded.

import type { NewPart } from "fanfold";

const TYPES: Record<string, string> = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  avif: "image/avif",
  svg: "image/svg+xml",
};

// An address on the web, or null.
export function imageAddress(text: string): string | null {
  const url = URL.parse(text.trim());
  return url && /^https?:$/.test(url.protocol) ? url.href : null;
}

// Of what kind an image is only its name can say.
export function imageAt(url: string): NewPart {
  const name = URL.parse(url)?.pathname.split("/").pop() ?? "";
  const mediaType = TYPES[name.split(".").pop()?.toLowerCase() ?? ""] ?? "image/*";
  return { kind: "file", url, mediaType, ...(name && { name }) };
}

export function partsOf(text: string, files: readonly NewPart[]): NewPart[] {
  return text ? [{ kind: "text", text }, ...files] : [...files];
}
