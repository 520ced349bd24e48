import type { NewPart } from "fanfold";
import { CloseIcon, FileIcon, ImageIcon } from "../ui/icons";

interface Props {
  files: readonly NewPart[];
  onChange(files: readonly NewPart[]): void;
}

// What goes with a message that is being written, besides its text.
export function Files({ files, onChange }: Props) {
  if (files.length === 0) return null;
  return (
    <ul className="images" aria-label="Images of this message">
      {files.map((file, at) => (
        <li key={at}>
          {file.kind === "file" && file.mediaType.startsWith("image/") ? <ImageIcon /> : <FileIcon />}
          <span className="name">{nameOf(file)}</span>
          <button
            type="button"
            className="quiet icon-only"
            aria-label={`Leave out ${nameOf(file)}`}
            onClick={() => onChange(files.filter((_, other) => other !== at))}
          >
            <CloseIcon />
          </button>
        </li>
      ))}
    </ul>
  );
}

// An address, or what stands for one that is the image itself.
export function nameOf(file: NewPart): string {
  if (file.kind === "text") return file.text;
  if (file.kind === "file" && file.url.startsWith("data:")) return file.name || file.mediaType;
  return file.url || ("title" in file && file.title) || "A source";
}
