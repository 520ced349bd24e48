const LENGTH_MAX = 60;

// A title from what was first said: its first line, cut at a word.
export function titleOf(text: string): string {
  const line =
    text
      .split("\n")
      .find((line) => line.trim() !== "")
      ?.trim() ?? "";
  const characters = [...line];
  if (characters.length <= LENGTH_MAX) return line;
  const cut = characters.slice(0, LENGTH_MAX).join("");
  return `${cut.slice(0, cut.lastIndexOf(" ") > 20 ? cut.lastIndexOf(" ") : cut.length)}…`;
}
