// The map: points, thumbnails when zoomed in, labels; zoom, pan, hover. `open(row)` is called for a chosen picture.

const THUMBNAILS_FROM = 2.2; // zoom
const LARGEST_ZOOM = 40;
const MARGIN = 26; // CSS px around the outermost pictures
const REACH = 14; // CSS px within which a pointer touches a picture

function createMap(open) {
  const box = document.getElementById("map");
  const canvas = document.getElementById("canvas");
  const tip = document.getElementById("tip");
  const context = canvas.getContext("2d");
  const paths = SHAPES.map((shape) => new Path2D(shape));
  const n = data.ids.length;
  const x = data.x.map((value) => value / 10000), y = data.y.map((value) => value / 10000);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const view = { x: 0, y: 0, zoom: 1 }; // the corner and the part of the unit square that is seen
  const sheets = new Map();
  let width = 0, height = 0, colours = {}, topic = null, chosen = -1, active = -1, waiting = false, moving = 0;
  let drawn = []; // rows whose thumbnail is on the map, with its place

  const toX = (right) => MARGIN + (right - view.x) * view.zoom * (width - 2 * MARGIN);
  const toY = (below) => MARGIN + (below - view.y) * view.zoom * (height - 2 * MARGIN);
  const across = (row) => toX(x[row]), down = (row) => toY(y[row]);
  const inside = (a, b, slack = 0) => a >= -slack && b >= -slack && a <= width + slack && b <= height + slack;
  const belongs = (row) => topic === null || mainTopic[row] === topic;

  // Where each topic's pictures lie: the median, which a stray one does not move.
  const middle = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const centres = topicOrder
    .map((k) => [k, mainTopic.flatMap((main, row) => (main === k ? [row] : []))])
    .filter(([, rows]) => rows.length > 0)
    .map(([k, rows]) => ({ k, n: rows.length, x: middle(rows.map((row) => x[row])), y: middle(rows.map((row) => y[row])) }))
    .sort((a, b) => b.n - a.n);

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    colours = { page: value("--page"), text: value("--text"), accent: value("--accent"), topics: [] };
    for (let i = 0; i < N_COLOURS; i++) colours.topics.push(value(`--topic-${i}`));
  }

  function resize() {
    width = box.clientWidth;
    height = box.clientHeight;
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    draw(); // at once: a canvas whose size was set is empty
  }

  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  }

  function draw() {
    context.globalAlpha = 1;
    context.fillStyle = colours.page;
    context.fillRect(0, 0, width, height);
    const rows = [];
    for (let row = 0; row < n; row++) if (inside(across(row), down(row), 60)) rows.push(row);
    // Pictures of the chosen topic lie on top of the others.
    rows.sort((a, b) => belongs(a) - belongs(b) || a - b);
    // The more pictures in the less room, the smaller.
    const crowd = 0.19 * Math.sqrt((width * height) / n);
    const size = Math.min(6, Math.min(5, Math.max(3, crowd)) * view.zoom ** 0.25);
    for (const row of rows) point(row, belongs(row) ? size : 0.7 * size, belongs(row) ? 1 : 0.3);
    drawn = [];
    if (view.zoom >= THUMBNAILS_FROM) thumbnails(rows);
    labels();
    for (const row of [chosen, active]) if (row >= 0) ring(row);
    if (active >= 0) showTip(active);
  }

  function point(row, radius, alpha) {
    const k = mainTopic[row];
    context.save();
    context.globalAlpha = alpha;
    context.translate(across(row), down(row));
    context.scale(radius, radius);
    context.fillStyle = colours.topics[colourOf(k)];
    context.fill(paths[shapeOf(k)]);
    context.restore();
  }

  // As many thumbnails as fit without covering each other; the other pictures stay points.
  function thumbnails(rows) {
    const side = Math.min(64, 30 + 6 * view.zoom);
    const first = [...new Set([chosen, active])].filter((row) => row >= 0);
    const order = [...first, ...rows.filter((row) => belongs(row) && !first.includes(row))];
    for (const row of order) {
      const left = across(row) - side / 2, top = down(row) - side / 2;
      if (!inside(left + side / 2, top + side / 2, side / 2)) continue;
      if (drawn.some((d) => Math.abs(d.left - left) < side + 6 && Math.abs(d.top - top) < side + 6)) continue;
      if (!paint(row, left, top, side)) continue;
      drawn.push({ row, left, top, side });
    }
  }

  function paint(row, left, top, side) {
    const { place, columns, perSheet, lines } = data.thumbnails;
    if (place[row] < 0) return false;
    const sheet = Math.floor(place[row] / perSheet), image = load(sheet);
    if (!image) return false;
    const step = image.naturalWidth / columns;
    const column = place[row] % columns, line = Math.floor((place[row] % perSheet) / columns);
    context.fillStyle = colours.topics[colourOf(mainTopic[row])];
    context.fillRect(left - 3, top - 3, side + 6, side + 6);
    context.drawImage(image, column * step, (line * image.naturalHeight) / lines[sheet], step, step, left, top, side, side);
    context.save();
    context.translate(left + 2, top + 2);
    context.fillStyle = colours.page;
    context.fillRect(-7, -7, 14, 14);
    context.scale(5, 5);
    context.fillStyle = colours.topics[colourOf(mainTopic[row])];
    context.fill(paths[shapeOf(mainTopic[row])]);
    context.restore();
    return true;
  }

  // A sheet is fetched when its first picture comes into sight.
  function load(sheet) {
    if (!sheets.has(sheet)) {
      const image = new Image();
      image.onload = redraw;
      image.src = data.thumbnails.sheets[sheet];
      sheets.set(sheet, image);
    }
    const image = sheets.get(sheet);
    return image.complete && image.naturalWidth > 0 ? image : null;
  }

  function labels() {
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    const taken = drawn.map((d) => [d.left - 4, d.top - 4, d.left + d.side + 4, d.top + d.side + 4]);
    const shown = topic === null ? centres : centres.filter((centre) => centre.k === topic);
    let left = Math.round((width * height) / 26000) + 2;
    for (const centre of shown) {
      if (left === 0) break;
      const text = `${data.topics[centre.k].number} ${shorten(words(centre.k, 2), 26)}`;
      const half = context.measureText(text).width / 2 + 3;
      const a = toX(centre.x), b = toY(centre.y);
      if (!inside(a, b)) continue;
      const at = Math.min(Math.max(a, half + 2), width - half - 2);
      const place = [at - half, b - 9, at + half, b + 9];
      if (taken.some((t) => place[0] < t[2] && place[2] > t[0] && place[1] < t[3] && place[3] > t[1])) continue;
      taken.push(place);
      left -= 1;
      context.strokeStyle = colours.page;
      context.lineWidth = 4;
      context.strokeText(text, at, b);
      context.fillStyle = colours.text;
      context.fillText(text, at, b);
    }
  }

  function ring(row) {
    const a = across(row), b = down(row), side = drawn.find((d) => d.row === row)?.side;
    const half = side ? side / 2 + 5 : 10;
    for (const [colour, line] of [[colours.page, 6], [colours.accent, 3]]) {
      context.strokeStyle = colour;
      context.lineWidth = line;
      context.beginPath();
      if (side) context.rect(a - half, b - half, 2 * half, 2 * half);
      else context.arc(a, b, half, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  function showTip(row) {
    const a = across(row), b = down(row);
    tip.hidden = !inside(a, b);
    if (tip.hidden) return;
    if (tip.dataset.row !== String(row)) {
      tip.dataset.row = row;
      const [k, share] = data.pictureTopics[row][0];
      tip.replaceChildren(
        thumbnail(row, { silent: true }),
        h("span", { class: "tip-text", lang: data.language }, caption(row, 110)),
        h("span", { class: "topic" }, sign(k), h("span", null, `${data.topics[k].number} ${words(k, 3)} (${percent(share)})`)),
      );
    }
    const gap = 16;
    tip.style.left = `${Math.max(4, Math.min(a + gap, width - tip.offsetWidth - 4))}px`;
    const above = b + gap + tip.offsetHeight > height;
    tip.style.top = `${Math.max(4, above ? b - gap - tip.offsetHeight : b + gap)}px`;
  }

  function activate(row) {
    if (row === active) return;
    active = row;
    if (row < 0) tip.hidden = true;
    redraw();
  }

  function nearest(a, b) {
    const on = drawn.findLast((d) => a >= d.left && a <= d.left + d.side && b >= d.top && b <= d.top + d.side);
    if (on) return on.row;
    let best = -1, distance = REACH ** 2;
    for (let row = 0; row < n; row++) {
      const apart = (across(row) - a) ** 2 + (down(row) - b) ** 2;
      // With a topic chosen, its pictures are easier to reach than the faint ones.
      if (apart * (belongs(row) ? 1 : 4) < distance) [best, distance] = [row, apart * (belongs(row) ? 1 : 4)];
    }
    return best;
  }

  function set(zoom, left, top) {
    view.zoom = Math.min(LARGEST_ZOOM, Math.max(1, zoom));
    const most = 1 - 1 / view.zoom;
    view.x = Math.min(most, Math.max(0, left));
    view.y = Math.min(most, Math.max(0, top));
    // The whole map leaves one finger to the page's scrolling; a part of it is moved by it.
    canvas.style.touchAction = view.zoom > 1 ? "none" : "pan-y";
    redraw();
  }

  function zoomAt(factor, a = width / 2, b = height / 2) {
    const zoom = Math.min(LARGEST_ZOOM, Math.max(1, view.zoom * factor));
    const u = (a - MARGIN) / (width - 2 * MARGIN), v = (b - MARGIN) / (height - 2 * MARGIN);
    set(zoom, view.x + u / view.zoom - u / zoom, view.y + v / view.zoom - v / zoom);
  }

  function glide(zoom, left, top) {
    cancelAnimationFrame(moving);
    if (calm.matches) return set(zoom, left, top);
    const from = { ...view }, start = performance.now();
    const step = (now) => {
      const t = Math.min(1, Math.max(0, (now - start) / 250)), part = t * (2 - t);
      set(
        from.zoom + (zoom - from.zoom) * part,
        from.x + (left - from.x) * part,
        from.y + (top - from.y) * part,
      );
      if (t < 1) moving = requestAnimationFrame(step);
    };
    moving = requestAnimationFrame(step);
  }

  // Move a place into sight without changing the zoom.
  function reveal(right, below) {
    if (inside(toX(right), toY(below), -MARGIN / 2)) return;
    glide(view.zoom, right - 0.5 / view.zoom, below - 0.5 / view.zoom);
  }

  readColours();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColours();
    redraw();
  });
  canvas.setAttribute("aria-label", `Map of ${count(n, "picture")}; the list below it holds the same pictures`);
  if (data.topics.length > N_COLOURS * SHAPES.length) {
    document.getElementById("map-help").append(" There are more topics than such signs: the smallest share theirs with larger ones.");
  }
  canvas.style.touchAction = "pan-y";
  resize();
  new ResizeObserver(resize).observe(box);

  // Move by a part of what is seen.
  const pan = (right, below) => set(view.zoom, view.x + right / view.zoom, view.y + below / view.zoom);
  attachGestures(canvas, {
    open,
    activate,
    nearest,
    zoomAt,
    pan,
    panBy: (right, below) => pan(right / (width - 2 * MARGIN), below / (height - 2 * MARGIN)),
    whole: () => glide(1, 0, 0),
    isWhole: () => view.zoom === 1,
  });

  return {
    activate,
    reveal: (row) => reveal(x[row], y[row]),
    // What the panel shows: one topic's pictures, one picture, or nothing in particular.
    choose({ topic: k = null, row = -1 } = {}) {
      [topic, chosen, active] = [k, row, -1];
      tip.hidden = true;
      const centre = centres.find((c) => c.k === k);
      if (row >= 0) reveal(x[row], y[row]);
      else if (centre) reveal(centre.x, centre.y);
      redraw();
    },
    isActive: () => active >= 0,
    state: () => ({ ...view, thumbnails: drawn.length, topic, chosen, active }),
  };
}
