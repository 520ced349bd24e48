import type { FilePart } from "fanfold";
import { useState } from "react";
import { hostOf, loadableImage, safeHref } from "../markdown/links";
import { FileIcon, ImageIcon } from "../ui/icons";

// An image of this node, or one that came with the message, is shown. Any other is a link: to load it would tell its host who
// reads this.
export function File({ part }: { part: FilePart }) {
  const [broken, setBroken] = useState(false);
  const name =
    part.name || (part.url.startsWith("data:") ? part.mediaType : (part.url.split(/[?#]/)[0]?.split("/").pop() ?? part.url));
  const image = part.mediaType.startsWith("image/");
  if (image && !broken && loadableImage(part.url, part.mediaType)) {
    return <img className="image" src={part.url} alt={name} loading="lazy" onError={() => setBroken(true)} />;
  }
  const href = safeHref(part.url);
  const content = (
    <>
      {image ? <ImageIcon /> : <FileIcon />}
      <span className="name">{name}</span>
      <span className="status">{broken ? "can't be shown" : href ? hostOf(href) : part.mediaType}</span>
    </>
  );
  if (!href) return <span className="file">{content}</span>;
  return (
    <a className="file" href={href} target="_blank" rel="noopener noreferrer nofollow ugc">
      {content}
    </a>
  );
}
