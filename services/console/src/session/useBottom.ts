// Stays at the end of a conversation for as long as the reader is there, and leaves them where they are otherwise.

import { type RefObject, useCallback, useEffect, useRef, useState } from "react";

// So close to the end counts as being there.
const NEAR_PX = 48;

export interface Bottom {
  // Whether the reader is at the end.
  readonly there: boolean;
  readonly toEnd: () => void;
  readonly stay: (there: boolean) => void;
}

export function useBottom(scroller: RefObject<HTMLElement | null>, content: RefObject<HTMLElement | null>): Bottom {
  const stuck = useRef(true);
  const [there, setThere] = useState(true);

  const stay = useCallback((now: boolean) => {
    stuck.current = now;
    setThere(now);
  }, []);

  const toEnd = useCallback(() => {
    stay(true);
    if (scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
  }, [scroller, stay]);

  useEffect(() => {
    const element = scroller.current;
    if (!element || !content.current) return;
    let last = element.scrollTop;
    const scrolled = () => {
      const left = element.scrollHeight - element.scrollTop - element.clientHeight;
      // Growing text moves the end away without a scroll: only who scrolls up leaves it.
      if (left < NEAR_PX) stay(true);
      else if (element.scrollTop < last - 1) stay(false);
      last = element.scrollTop;
    };
    const resized = new ResizeObserver(() => {
      if (stuck.current) element.scrollTop = element.scrollHeight;
    });
    element.addEventListener("scroll", scrolled, { passive: true });
    resized.observe(content.current);
    resized.observe(element);
    return () => {
      element.removeEventListener("scroll", scrolled);
      resized.disconnect();
    };
  }, [scroller, content, stay]);

  return { there, toEnd, stay };
}
