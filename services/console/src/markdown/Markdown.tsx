// Markdown as React elements. Text of a model only ever becomes text nodes and the few elements below; HTML in it stays text.

import type { Token, Tokens } from "marked";
import { Fragment, memo, type ReactNode, useRef } from "react";
import { ImageIcon } from "../ui/icons";
import { Blocks } from "./blocks";
import { Code } from "./Code";
import { Formula } from "./Formula";
import { safeHref } from "./links";
import type { MathToken } from "./math";

interface Props {
  text: string;
  // Whether more may come.
  open: boolean;
}

export const Markdown = memo(function Markdown({ text, open }: Props) {
  const parser = useRef<Blocks | null>(null);
  parser.current ??= new Blocks();
  const blocks = parser.current.update(text, !open);
  const last = blocks.length - 1;
  return (
    <div className={open ? "markdown open" : "markdown"}>
      {blocks.map((block, index) => (
        <BlockView key={block.start} token={block.token} open={open && index === last} />
      ))}
    </div>
  );
});

const BlockView = memo(function BlockView({ token, open }: { token: Token; open: boolean }) {
  return block(token, open);
});

function block(token: Token, open: boolean): ReactNode {
  switch (token.type) {
    case "heading":
      // A model's levels needn't make sense: all stand below the message's own heading, and look as they were meant.
      return <h3 className={`depth-${(token as Tokens.Heading).depth}`}>{inline((token as Tokens.Heading).tokens)}</h3>;
    case "paragraph":
      return <p>{inline((token as Tokens.Paragraph).tokens)}</p>;
    case "code":
      return <Code code={(token as Tokens.Code).text} language={(token as Tokens.Code).lang ?? ""} open={open} />;
    case "blockquote":
      return <blockquote>{blocksOf((token as Tokens.Blockquote).tokens, open)}</blockquote>;
    case "list":
      return list(token as Tokens.List, open);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return <hr />;
    case "math":
      return <Formula text={(token as MathToken).text} display />;
    case "html":
      return <p className="verbatim">{token.raw.trimEnd()}</p>;
    case "text": {
      const text = token as Tokens.Text;
      return text.tokens ? inline(text.tokens) : text.text;
    }
    case "space":
    case "def":
      return null;
    default:
      return inline([token]);
  }
}

function blocksOf(tokens: readonly Token[], open: boolean): ReactNode {
  return tokens.map((token, index) => <Fragment key={index}>{block(token, open && index === tokens.length - 1)}</Fragment>);
}

function list(token: Tokens.List, open: boolean): ReactNode {
  const items = token.items.map((item, index) => <Item key={index} item={item} open={open && index === token.items.length - 1} />);
  return token.ordered ? <ol start={token.start === "" ? 1 : token.start}>{items}</ol> : <ul>{items}</ul>;
}

// What is finished of a list or a table stays the same object, and isn't rendered again.
const Item = memo(function Item({ item, open }: { item: Tokens.ListItem; open: boolean }) {
  const tokens = item.tokens.filter((token) => token.type !== "checkbox");
  return (
    <li className={item.task ? "task" : undefined}>
      {item.task && (
        <input type="checkbox" checked={item.checked ?? false} disabled readOnly aria-label={item.checked ? "done" : "to do"} />
      )}
      {blocksOf(tokens, open)}
    </li>
  );
});

const sideOf = ({ align }: Tokens.TableCell) => (align ? `align-${align}` : undefined);

function table(token: Tokens.Table): ReactNode {
  return (
    // Wide tables scroll by themselves, also by the keyboard.
    // a region that scrolls must be reachable
    <section className="table" aria-label="Table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {token.header.map((cell, index) => (
              <th key={index} scope="col" className={sideOf(cell)}>
                {inline(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {token.rows.map((row, index) => (
            <Row key={index} row={row} odd={index % 2 === 0} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

// The stylesheet doesn't count rows: it would look at all of them whenever one comes.
const Row = memo(function Row({ row, odd }: { row: readonly Tokens.TableCell[]; odd: boolean }) {
  return (
    <tr className={odd ? "odd" : undefined}>
      {row.map((cell, column) => (
        <td key={column} className={sideOf(cell)}>
          {inline(cell.tokens)}
        </td>
      ))}
    </tr>
  );
});

function inline(tokens: readonly Token[] | undefined): ReactNode {
  return tokens?.map((token, index) => <Fragment key={index}>{span(token)}</Fragment>);
}

function span(token: Token): ReactNode {
  switch (token.type) {
    case "strong":
      return <strong>{inline((token as Tokens.Strong).tokens)}</strong>;
    case "em":
      return <em>{inline((token as Tokens.Em).tokens)}</em>;
    case "del":
      return <del>{inline((token as Tokens.Del).tokens)}</del>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "math":
      return <Formula text={(token as MathToken).text} display={(token as MathToken).display} />;
    case "link":
      return link((token as Tokens.Link).href, inline((token as Tokens.Link).tokens), (token as Tokens.Link).raw);
    case "image": {
      // Loading it would tell its host who reads this, and what a model was made to write into the address.
      const { href, text, raw } = token as Tokens.Image;
      const content = (
        <>
          <ImageIcon /> {text || href}
        </>
      );
      return link(href, content, raw);
    }
    case "html":
      return /^<br\s*\/?>$/i.test(token.raw) ? <br /> : token.raw;
    case "escape":
      return (token as Tokens.Escape).text;
    case "text": {
      const text = token as Tokens.Text;
      return text.tokens ? inline(text.tokens) : text.text;
    }
    default:
      return token.raw;
  }
}

function link(href: string, content: ReactNode, raw: string): ReactNode {
  const safe = safeHref(href);
  if (!safe) return raw;
  return (
    <a href={safe} target="_blank" rel="noopener noreferrer nofollow ugc" title={safe}>
      {content}
    </a>
  );
}
