// How the map is moved: buttons, keys, wheel, mouse, one finger or two; and how a lasso is drawn.

const TOUCH = 8; // CSS px a finger may tremble without dragging

function attachGestures(canvas, { open, activate, nearest, zoomAt, pan, panBy, whole, isWhole, drawsLasso, drawLasso }) {
  const zoomKeys = { "+": () => zoomAt(1.5), "=": () => zoomAt(1.5), "-": () => zoomAt(1 / 1.5), 0: whole };
  const arrows = {
    ArrowLeft: () => pan(-0.15, 0), ArrowRight: () => pan(0.15, 0),
    ArrowUp: () => pan(0, -0.15), ArrowDown: () => pan(0, 0.15),
  };
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // The whole map has nowhere to go: arrows are left to the page.
    const keys = isWhole() ? zoomKeys : { ...zoomKeys, ...arrows };
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.getElementById("zoom-in").addEventListener("click", () => zoomAt(1.8));
  document.getElementById("zoom-out").addEventListener("click", () => zoomAt(1 / 1.8));
  document.getElementById("zoom-all").addEventListener("click", whole);
  canvas.addEventListener(
    "wheel",
    (event) => {
      // Out of the whole map, the wheel scrolls the page.
      if (event.deltaY > 0 && isWhole()) return;
      event.preventDefault();
      zoomAt(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.002)), event.offsetX, event.offsetY);
    },
    { passive: false },
  );

  const pointers = new Map();
  let travelled = 0, line = null; // of the lasso
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (pointers.size === 0) {
      travelled = 0;
      line = drawsLasso() || event.shiftKey ? [[event.offsetX, event.offsetY]] : null;
    } else if (line) drawLasso((line = null)); // two fingers move the map
    pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const here = [event.offsetX, event.offsetY], before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType === "mouse") activate(nearest(...here));
      return;
    }
    if (line) {
      travelled += Math.hypot(here[0] - before[0], here[1] - before[1]);
      pointers.set(event.pointerId, here);
      line.push(here);
      return drawLasso(line);
    }
    const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
    if (other) {
      const apart = (at) => Math.max(1, Math.hypot(at[0] - other[0], at[1] - other[1]));
      zoomAt(apart(here) / apart(before), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
    }
    const part = other ? 0.5 : 1; // of two fingers, each moves the middle by half
    panBy(part * (before[0] - here[0]), part * (before[1] - here[1]));
    travelled += Math.hypot(here[0] - before[0], here[1] - before[1]);
    pointers.set(event.pointerId, here);
  });
  canvas.addEventListener("pointerup", (event) => {
    const touched = pointers.delete(event.pointerId) && pointers.size === 0 && travelled < TOUCH;
    if (line && !touched) drawLasso(line, true);
    else if (line) drawLasso(null);
    line = null;
    const row = touched ? nearest(event.offsetX, event.offsetY) : -1;
    if (row >= 0) open(row);
  });
  canvas.addEventListener("pointercancel", (event) => {
    pointers.delete(event.pointerId);
    if (line) drawLasso((line = null));
  });
  canvas.addEventListener("pointerleave", () => activate(-1));
}
