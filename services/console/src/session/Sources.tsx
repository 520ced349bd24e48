import type { CitationPart } from "fanfold";
import { hostOf, safeHref } from "../markdown/links";

export function Sources({ sources }: { sources: readonly CitationPart[] }) {
  return (
    <section className="sources" aria-label="Sources">
      <h3>Sources</h3>
      <ol>
        {sources.map((source, index) => (
          <li key={index}>
            <Source source={source} />
          </li>
        ))}
      </ol>
    </section>
  );
}

function Source({ source }: { source: CitationPart }) {
  const href = source.url ? safeHref(source.url) : null;
  const title = source.title || source.source || source.url || "Unnamed source";
  return (
    <>
      {href ? (
        <a href={href} target="_blank" rel="noopener noreferrer nofollow ugc">
          {title}
        </a>
      ) : (
        <span>{title}</span>
      )}
      {href && <span className="host">{hostOf(href)}</span>}
      {source.quote && <q>{source.quote}</q>}
    </>
  );
}
