import { useEffect, useState } from "react";
import { announce } from "./announce";
import { CheckIcon, CopyIcon } from "./icons";

export function CopyButton({ text, what, label }: { text: string; what: string; label?: string }) {
  const [copied, setCopied] = useState<"no" | "yes" | "failed">("no");
  useEffect(() => {
    if (copied === "no") return;
    const timer = setTimeout(() => setCopied("no"), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    const done = await copyText(text);
    setCopied(done ? "yes" : "failed");
    announce(done ? `Copied the ${what}` : `The browser didn't let the ${what} be copied`);
  };
  const said = copied === "yes" ? "Copied" : copied === "failed" ? "Not allowed" : (label ?? "Copy");
  return (
    <button type="button" className="quiet small" onClick={copy} aria-label={`Copy ${what}`}>
      {copied === "yes" ? <CheckIcon /> : <CopyIcon />}
      <span>{said}</span>
    </button>
  );
}

// Without TLS a browser has no clipboard for pages of another machine: then by selection.
async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
