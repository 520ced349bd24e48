// Light, dark, or as the system is. The stylesheet follows `data-theme`.

import { keptStore } from "./kept";

export type Theme = "system" | "light" | "dark";

export const theme = keptStore<Theme>("theme", "system");

export function followTheme(): void {
  const show = () => {
    const chosen = theme.get();
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
  };
  theme.subscribe(show);
  show();
}
