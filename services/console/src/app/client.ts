// The one connection of this page. Everything it knows of the node comes through here.

import { Fanfold } from "fanfold";
import { holder, token } from "./identity";
import { forgetTab } from "./tabStore";

const sockets = new Set<WebSocket>();

// Knows the connection that is open, so that it can be cut: to see that nothing is lost by it.
class CuttableSocket extends WebSocket {
  constructor(url: string, protocols: string[]) {
    super(url, protocols);
    sockets.add(this);
    this.addEventListener("close", () => sockets.delete(this));
  }
}

export const fanfold = new Fanfold({ token: () => token.get(), clientName: "console", WebSocket: CuttableSocket });

export function cutConnection(): void {
  for (const socket of sockets) socket.close();
}

// For another person the page begins anew: nothing that this one has read or written stays in it, nor in its storage.
const opener = holder();
token.subscribe(() => {
  if (holder() === opener) return fanfold.reconnect();
  fanfold.close();
  void fanfold.forget().then(() => {
    forgetTab();
    location.reload();
  });
});
