import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { followTheme } from "./app/theme";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/message.css";
import "./styles/markdown.css";
import "./styles/debug.css";

followTheme();

const root = document.getElementById("root");
if (!root) throw new Error("the page has no place for the console");
createRoot(root).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
