import { useStore } from "../app/store";
import { type Theme, theme } from "../app/theme";
import { HalfIcon, MoonIcon, SunIcon } from "./icons";

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const NAME: Record<Theme, string> = { system: "as the system is", light: "light", dark: "dark" };

export function ThemeSwitch() {
  const now = useStore(theme);
  const label = `Colours: ${NAME[now]}. Change to ${NAME[NEXT[now]]}`;
  return (
    <button type="button" className="quiet icon-only" aria-label={label} title={label} onClick={() => theme.set(NEXT[now])}>
      {now === "system" ? <HalfIcon /> : now === "light" ? <SunIcon /> : <MoonIcon />}
    </button>
  );
}
