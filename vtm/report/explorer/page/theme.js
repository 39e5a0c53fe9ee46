"use strict";

// Light or dark: as the reader set the book that this page may stand in (its theme keeps that in the storage, under
// "mode"), or else as the system prefers. "themechange" is sent when it changes.

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");

function wantedTheme() {
  let mode = null;
  try {
    mode = localStorage.getItem("mode");
  } catch {
    // No storage here, as in a frame of another host.
  }
  return mode === "light" || mode === "dark" ? mode : systemIsDark.matches ? "dark" : "light";
}

function followTheme() {
  const root = document.documentElement, before = root.dataset.theme;
  root.dataset.theme = wantedTheme();
  if (before && before !== root.dataset.theme) document.dispatchEvent(new Event("themechange"));
}

followTheme();
systemIsDark.addEventListener("change", followTheme);
addEventListener("storage", followTheme);
