const SCHEMES = new Set(["http:", "https:", "mailto:"]);

// The address if a reader may be sent there. Relative ones are none: a model doesn't know the pages of this node.
export function safeHref(href: string): string | null {
  const url = URL.parse(href);
  return url && SCHEMES.has(url.protocol) ? url.href : null;
}

// Where an address leads, in a word.
export function hostOf(href: string): string {
  return URL.parse(href)?.host.replace(/^www\./, "") || href;
}

// What the page itself may load as an image: its own or one that came with the text. Any other is offered as a link.
export function loadableImage(url: string, mediaType: string): boolean {
  if (/^data:image\/(?:png|jpeg|gif|webp|avif);/i.test(url)) return true;
  const own = URL.parse(url, location.href);
  return mediaType.startsWith("image/") && own?.origin === location.origin && /^https?:$/.test(own.protocol);
}
