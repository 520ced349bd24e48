// The moment of the past that is looked at, and null for now: nothing of the past goes on, and its clocks stand.

import { createContext } from "react";

export const Moment = createContext<{ readonly atMs: number } | null>(null);
