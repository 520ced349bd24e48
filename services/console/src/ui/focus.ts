// Where the keys go when what had them is gone: to the message that is written, or, where that would open a keyboard on the screen,
// to the conversation.
export function backToConversation(): void {
  const field = matchMedia("(pointer: coarse)").matches ? null : document.querySelector<HTMLElement>("#main .composer textarea:enabled");
  (field ?? document.querySelector<HTMLElement>("#main .scroller"))?.focus();
}
