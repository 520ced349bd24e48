// Drawn here: no font, no request. All on a grid of 24, in the colour of the text.

import type { ReactNode } from "react";

function Icon({ children }: { children: ReactNode }) {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const PlusIcon = () => (
  <Icon>
    <path d="M12 5v14M5 12h14" />
  </Icon>
);
export const SearchIcon = () => (
  <Icon>
    <path d="M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13Zm5-1.5L20 20" />
  </Icon>
);
export const MenuIcon = () => (
  <Icon>
    <path d="M4 7h16M4 12h16M4 17h10" />
  </Icon>
);
export const PauseIcon = () => (
  <Icon>
    <path d="M9 6v12M15 6v12" />
  </Icon>
);
export const MoreIcon = () => (
  <Icon>
    <path d="M6 12h.01M12 12h.01M18 12h.01" strokeWidth="2.6" />
  </Icon>
);
export const CloseIcon = () => (
  <Icon>
    <path d="m6 6 12 12M18 6 6 18" />
  </Icon>
);
export const CopyIcon = () => (
  <Icon>
    <path d="M9 9h10v11H9zM5 15V4h10" />
  </Icon>
);
export const CheckIcon = () => (
  <Icon>
    <path d="m5 12.5 4.5 4.5L19 7.5" />
  </Icon>
);
export const SendIcon = () => (
  <Icon>
    <path d="M12 19V5m-6 6 6-6 6 6" />
  </Icon>
);
export const StopIcon = () => (
  <Icon>
    <path d="M7.5 7.5h9v9h-9z" fill="currentColor" />
  </Icon>
);
export const RetryIcon = () => (
  <Icon>
    <path d="M19 12a7 7 0 1 1-2.1-5M19 4v4h-4" />
  </Icon>
);
export const EditIcon = () => (
  <Icon>
    <path d="m5 19 .8-3.8L16 5l3 3L8.800 18.200 5 19Zm9-12 3 3" />
  </Icon>
);
export const BackIcon = () => (
  <Icon>
    <path d="m14 6-6 6 6 6" />
  </Icon>
);
export const ForwardIcon = () => (
  <Icon>
    <path d="m10 6 6 6-6 6" />
  </Icon>
);
export const DownIcon = () => (
  <Icon>
    <path d="M12 5v14m-6-6 6 6 6-6" />
  </Icon>
);
export const LinkIcon = () => (
  <Icon>
    <path d="M10 14a4 4 0 0 0 5.700 0l3-3a4 4 0 0 0-5.700-5.700l-1 1M14 10a4 4 0 0 0-5.700 0l-3 3a4 4 0 0 0 5.700 5.700l1-1" />
  </Icon>
);
export const ToolIcon = () => (
  <Icon>
    <path d="M14.500 6.500a4 4 0 0 1 5-1l-2.500 2.500 1 1.500 1.500.5L21 8.500a4 4 0 0 1-5.500 4L8 20l-3-3 7.500-7.500a4 4 0 0 1 2-3Z" />
  </Icon>
);
export const ThoughtIcon = () => (
  <Icon>
    <path d="M12 4a6 6 0 0 0-3.500 10.900V17h7v-2.100A6 6 0 0 0 12 4Zm-2.500 16h5" />
  </Icon>
);
export const ClockIcon = () => (
  <Icon>
    <path d="M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16Zm0-12.500V12l3 2" />
  </Icon>
);
export const SunIcon = () => (
  <Icon>
    <path d="M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm0-13v2m0 14v2M3 12h2m14 0h2M5.600 5.600 7 7m10 10 1.400 1.400m0-12.800L17 7M7 17l-1.400 1.400" />
  </Icon>
);
export const MoonIcon = () => (
  <Icon>
    <path d="M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10Z" />
  </Icon>
);
export const HalfIcon = () => (
  <Icon>
    <path d="M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16Z" />
    <path d="M12 4a8 8 0 0 1 0 16Z" fill="currentColor" />
  </Icon>
);
export const DebugIcon = () => (
  <Icon>
    <path d="M4 17h3l2.500-9 4 12L16 12h4" />
  </Icon>
);
export const AlertIcon = () => (
  <Icon>
    <path d="M12 4 3 19.500h18L12 4Zm0 6v4.500m0 2.500v.01" />
  </Icon>
);
export const ImageIcon = () => (
  <Icon>
    <path d="M4 5h16v14H4zM4 16l4.500-4.500L13 16l3-3 4 4M15.500 9.500h.01" />
  </Icon>
);
export const FileIcon = () => (
  <Icon>
    <path d="M7 4h7l4 4v12H7zM14 4v4h4" />
  </Icon>
);
export const SteerIcon = () => (
  <Icon>
    <path d="M5 19c0-7 4-10 12-10m-4-4 4.500 4L13 13" />
  </Icon>
);
export const CutIcon = () => (
  <Icon>
    <path d="M9 7V4m6 3V4M7 7h10v4a5 5 0 0 1-10 0V7Zm5 9v4M4 4l16 16" />
  </Icon>
);

// A sheet that is folded, and goes on.
export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <path
        d="M6 5 26 9 6 15 26 21 6 27"
        fill="none"
        stroke="currentColor"
        strokeWidth="3"
        strokeLinejoin="round"
        strokeLinecap="round"
      />
    </svg>
  );
}
