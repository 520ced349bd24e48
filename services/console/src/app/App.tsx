import { useConnection } from "fanfold/react";
import { useCallback, useEffect, useState } from "react";
import { Session } from "../session/Session";
import { follow, list } from "../sessions/list";
import { Sidebar } from "../sessions/Sidebar";
import { Announcer } from "../ui/announce";
import { Notices } from "../ui/notices";
import { Boundary } from "./Boundary";
import { fanfold } from "./client";
import { codeOf } from "./errors";
import { Home } from "./Home";
import { useRoute } from "./route";
import { SignIn } from "./SignIn";
import { useStore } from "./store";

const NO_TOKEN = new Set(["unauthenticated", "token_expired"]);

export function App() {
  const route = useRoute();
  const [menu, setMenu] = useState(false);
  const [debugging, setDebugging] = useState(route.at !== null);
  const showMenu = useCallback(() => setMenu(true), []);
  useEffect(follow, []);
  useShortcuts(menu, () => setMenu(false));

  const connection = useConnection(fanfold);
  const refused = [useStore(list).error, connection.error].find((error) => NO_TOKEN.has(codeOf(error)));
  if (refused) return <SignIn error={refused} />;
  return (
    <div className="app">
      <button type="button" className="skip" onClick={skip}>
        Skip to the conversation
      </button>
      <Sidebar current={route.session} open={menu} onClose={() => setMenu(false)} />
      {menu && <button type="button" className="curtain" aria-label="Hide the list of sessions" onClick={() => setMenu(false)} />}
      <Boundary key={route.session}>
        {route.session === null ? (
          <Home onMenu={showMenu} />
        ) : (
          <Session route={{ ...route, session: route.session }} debugging={debugging} onDebug={setDebugging} onMenu={showMenu} />
        )}
      </Boundary>
      <Notices />
      <Announcer />
    </div>
  );
}

function skip(): void {
  document.querySelector<HTMLElement>("#main textarea, #main .scroller")?.focus();
}

function useShortcuts(menu: boolean, closeMenu: () => void): void {
  useEffect(() => {
    const key = (event: KeyboardEvent) => {
      if (event.key === "Escape" && menu) closeMenu();
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "k") return;
      event.preventDefault();
      document.querySelector<HTMLInputElement>(".search input")?.focus();
    };
    document.addEventListener("keydown", key);
    return () => document.removeEventListener("keydown", key);
  }, [menu, closeMenu]);
}
