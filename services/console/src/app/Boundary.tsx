import { Component, type ReactNode } from "react";
import { AlertIcon } from "../ui/icons";

// What the page can't show it says, instead of showing nothing.
export class Boundary extends Component<{ children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children;
    return (
      <main className="talk unreadable" id="main">
        <AlertIcon />
        <h1>The console can't show this.</h1>
        <p>
          Nothing is lost: the session is kept by the node. Reload the page; if it happens again, report it with the session's id.
        </p>
        <div className="buttons">
          <button type="button" className="primary" onClick={() => location.reload()}>
            Reload
          </button>
        </div>
      </main>
    );
  }
}
