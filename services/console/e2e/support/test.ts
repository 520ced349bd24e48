// What each test begins with: a node of its own, and pages of a real browser that watch for what must never happen.

import { type BrowserContext, test as base, expect, type Page } from "@playwright/test";
import { Marked, type Token, type Tokens } from "marked";
import { mathBlock, mathInline } from "../../src/markdown/math";
import { Node, type Options, tokenOf, type Wire } from "./node";

interface Fixtures {
  options: Options;
  node: Node;
  // Another person, or another browser: nothing is shared but the node.
  someone: (who?: string) => Promise<Page>;
}

export const test = base.extend<Fixtures>({
  options: [{}, { option: true }],
  node: async ({ options }, use) => {
    const node = new Node(options);
    await node.start();
    await use(node);
    await node.stop();
  },
  baseURL: async ({ node }, use) => use(node.url),
  someone: async ({ browser, node, contextOptions }, use) => {
    const contexts: BrowserContext[] = [];
    const seen: string[][] = [];
    await use(async (who) => {
      const context = await browser.newContext({ ...contextOptions, baseURL: node.url });
      contexts.push(context);
      if (who) await context.addInitScript((token) => localStorage.setItem("fanfold.token", JSON.stringify(token)), tokenOf(who));
      const page = await context.newPage();
      seen.push(guard(page, node.url));
      return page;
    });
    for (const context of contexts) await context.close();
    expect(seen.flat()).toEqual([]);
  },
  page: async ({ page, node }, use) => {
    const seen = guard(page, node.url);
    await use(page);
    expect(seen).toEqual([]);
  },
});

// Requests to elsewhere, scripts that were kept from running, and errors of the page itself.
function guard(page: Page, url: string): string[] {
  const seen: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) seen.push(`request to ${request.url()}`);
  });
  page.on("pageerror", (error) => seen.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (/Content Security Policy|Trusted/.test(message.text())) seen.push(message.text());
  });
  return seen;
}

export { expect };

export async function openSession(page: Page, session: string): Promise<void> {
  await page.goto(`/#/s/${session}`);
  await live(page);
}

export async function live(page: Page): Promise<void> {
  await expect(page.locator(".pill")).toHaveText("Live", { timeout: 45_000 });
}

export async function say(page: Page, text: string): Promise<void> {
  await page.getByRole("textbox", { name: "Message" }).fill(text);
  await page.keyboard.press("Enter");
}

// Gathers what a screen reader is told on a page, from its beginning.
export async function listen(page: Page): Promise<() => Promise<string[]>> {
  await page.addInitScript(() => {
    const said: string[] = [];
    Object.assign(window, { said });
    new MutationObserver((changes) => {
      for (const { target, addedNodes } of changes) {
        if (!(target as Element).closest?.("[role=status][aria-live=polite]")) continue;
        for (const node of addedNodes) said.push(node.textContent ?? "");
      }
    }).observe(document, { childList: true, subtree: true });
  });
  return () => page.evaluate(() => (window as unknown as { said: string[] }).said);
}

// The words of an answer that has begun.
export const answer = (page: Page) => page.locator(".message.assistant").last().locator(".body > .markdown").last();

const marked = new Marked({ gfm: true });
marked.use({ extensions: [mathBlock, mathInline] });

// What a Markdown text says, read anew and without the page's own code.
function words(tokens: readonly Token[]): string {
  return tokens
    .map((token): string => {
      switch (token.type) {
        case "table": {
          const { header, rows } = token as Tokens.Table;
          return [header, ...rows].flatMap((row) => row.map((cell) => words(cell.tokens))).join("");
        }
        case "list":
          return (token as Tokens.List).items.map((item) => words(item.tokens.filter((one) => one.type !== "checkbox"))).join("");
        case "image": {
          const { text, href, raw } = token as Tokens.Image;
          return allowed(href) ? text || href : raw;
        }
        case "link": {
          const { href, tokens, raw } = token as Tokens.Link;
          return allowed(href) ? words(tokens) : raw;
        }
        case "html":
          return /^<br\s*\/?>$/i.test(token.raw) ? "" : token.raw;
        case "br":
        case "hr":
        case "def":
        case "space":
          return "";
        default:
          return "tokens" in token && token.tokens ? words(token.tokens) : "text" in token ? String(token.text) : token.raw;
      }
    })
    .join("");
}

const allowed = (href: string) => /^(https?|mailto):/i.test(href);

const squeezed = (text: string) => text.replace(/\s+/g, "");

const rendered = (markdown: string) => squeezed(words(marked.lexer(markdown.replace(/\r\n?/g, "\n"))));

// What a message says in its texts, as the node's state has it.
function expected(message: Wire["messages"][number]): string {
  const texts = message.parts.flatMap((part) => (part.text ? [String(part.text.text)] : []));
  return message.role === "ROLE_USER" ? squeezed(texts.join("")) : texts.map(rendered).join("");
}

// The way that ends with the newest message.
export const newestPath = (state: Wire): Wire["messages"] => wayTo(state, state.messages.at(-1)?.id ?? "");

// The way that ends with a message.
export function wayTo(state: Wire, message: string): Wire["messages"] {
  const byId = new Map(state.messages.map((message) => [message.id, message]));
  const path: Wire["messages"] = [];
  for (let at = byId.get(message); at; at = at.parent === undefined ? undefined : byId.get(at.parent)) path.unshift(at);
  return path;
}

// The messages of the conversation with the text that each shows, gathered by scrolling through it, as only those near the window
// exist in the page. Ends where it began.
export function shown(page: Page, scrolling = true): Promise<Record<string, string>> {
  return page.evaluate(async (scrolling) => {
    const textOf = (message: Element) =>
      [...message.querySelectorAll(":scope > .body > .markdown, :scope > .body > .said")].map((part) => {
        const copy = part.cloneNode(true) as Element;
        for (const extra of copy.querySelectorAll("figcaption")) extra.remove();
        for (const formula of copy.querySelectorAll<HTMLElement>("[data-source]")) formula.textContent = formula.dataset.source ?? "";
        return copy.textContent ?? "";
      });
    const all: Record<string, string> = {};
    const scroller = document.querySelector(".scroller");
    if (!scroller) return all;
    // On a busy machine messages come into the page some frames after the scrolling that asks for them.
    const covers = () => {
      const tops = [...document.querySelectorAll("[data-message]")].map((message) => message.getBoundingClientRect().top);
      return scroller.scrollTop < scroller.clientHeight || Math.min(...tops) <= scroller.getBoundingClientRect().top;
    };
    const gather = async () => {
      for (let frame = 0; frame < 2 || (frame < 300 && !covers()); frame++) await new Promise(requestAnimationFrame);
      for (const message of document.querySelectorAll("[data-message]")) {
        all[message.getAttribute("data-message") ?? ""] = textOf(message).join("").replace(/\s+/g, "");
      }
    };
    const begin = scroller.scrollTop;
    const fromEnd = scroller.scrollHeight - scroller.clientHeight - begin < 50;
    await gather();
    if (!scrolling) return all;
    for (let last = -1; scroller.scrollTop !== last; ) {
      last = scroller.scrollTop;
      scroller.scrollTop -= scroller.clientHeight * 0.8;
      await gather();
    }
    // On the way messages were measured that were only guessed: what was the end is further down now.
    scroller.scrollTop = fromEnd ? scroller.scrollHeight : begin;
    await gather();
    return all;
  }, scrolling);
}

// What the page shows at its end is what the node's fold says, the newest message included.
export async function expectSameEnd(page: Page, node: Node, session: string): Promise<void> {
  const messages = newestPath(await node.idle(session));
  const newest = messages.at(-1)?.id ?? "";
  await expect
    .poll(async () => {
      const here = await shown(page, false);
      const differ = messages.filter(({ id }) => id in here).filter((message) => here[message.id] !== expected(message));
      return newest in here ? differ.map(({ id }) => id) : ["the newest is not shown"];
    })
    .toEqual([]);
}

// The page shows what the node's fold says, word for word.
export async function expectSame(page: Page, node: Node, session: string, path?: readonly string[]): Promise<Wire> {
  const state = await node.idle(session);
  const messages = path ? path.map((id) => state.messages.find((message) => message.id === id)) : newestPath(state);
  const all = Object.fromEntries(messages.flatMap((message) => (message ? [[message.id, expected(message)]] : [])));
  await expect.poll(() => shown(page), { timeout: 180_000 }).toEqual(all);
  return state;
}
