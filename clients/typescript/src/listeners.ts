/** Whom to tell. The same function may listen twice. */
export class Listeners<E> {
  readonly #all = new Set<(event: E) => void>();

  /** Gives what ends it. */
  readonly add = (listener: (event: E) => void): (() => void) => {
    const own = (event: E) => listener(event);
    this.#all.add(own);
    return () => void this.#all.delete(own);
  };

  tell(event: E): void {
    for (const listener of [...this.#all]) {
      try {
        listener(event);
      } catch (error) {
        // It is the listener's, and must not keep the others or the connection from going on.
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }
}

/** Listens to a browser's events of the window and of the document, or no longer. Elsewhere there are none. */
export function listen(on: boolean, listener: (event: Event) => void, ofWindow: string[], ofDocument: string[]): void {
  const listen = on ? "addEventListener" : "removeEventListener";
  for (const name of ofWindow) globalThis[listen]?.(name, listener);
  for (const name of ofDocument) globalThis.document?.[listen](name, listener);
}
