// The map: points, labels, thumbnails when zoomed in; zoom, pan, hover, lasso. `open(row)` is called for a chosen
// picture, `select(rows)` for those that were drawn around.

const THUMBNAILS_FROM = 2.2; // zoom
const LARGEST_ZOOM = 40;
const LARGEST_SIDE = 64; // CSS px of a thumbnail on the map
const MOST_CUT_OUT = 1000; // thumbnails kept ready
const MOST_CUTTING = 6; // ms in a frame
const MARGIN = 26; // CSS px around the outermost pictures
const REACH = 14; // CSS px within which a pointer touches a picture

const sideOf = (zoom) => Math.min(LARGEST_SIDE, 30 + 6 * zoom); // CSS px of a thumbnail
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16)); // of #rrggbb

function createMap({ open, select }) {
  const box = document.getElementById("map");
  const canvas = document.getElementById("canvas");
  const tip = document.getElementById("tip");
  const context = canvas.getContext("2d");
  const paths = SHAPES.map((shape) => new Path2D(shape));
  const n = data.ids.length;
  const x = Float64Array.from(data.x, (value) => value / 10000), y = Float64Array.from(data.y, (value) => value / 10000);
  const points = createPoints(context), labels = createLabels(x, y);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const view = { x: 0, y: 0, zoom: 1 }; // the corner and the part of the unit square that is seen
  const sheets = new Map(), cutOuts = new Map();
  let began = 0; // when the thumbnails of this frame were begun
  let width = 0, height = 0, scale = 1, colours = {}, topic = null, chosen = -1, active = -1, waiting = false, moving = 0;
  let colouring = colourings[0], only = null; // the class that is not faint, or null for all
  let found = null; // the rows that are not faint, or null for all
  let marked = new Set(); // rows that are selected
  let lasso = null, lassoing = false; // the line that is being drawn, [across, down] each; whether a drag draws one
  let drawn = []; // rows whose thumbnail is on the map, with its place
  let named = []; // the labels on the map

  const toX = (right) => MARGIN + (right - view.x) * view.zoom * (width - 2 * MARGIN);
  const toY = (below) => MARGIN + (below - view.y) * view.zoom * (height - 2 * MARGIN);
  const across = (row) => toX(x[row]), down = (row) => toY(y[row]);
  const inside = (a, b, slack = 0) => a >= -slack && b >= -slack && a <= width + slack && b <= height + slack;
  const belongs = (row) => (found === null || found.has(row)) && (topic === null || mainTopic[row] === topic) && (only === null || colouring.of[row] === only);
  const signOf = (row) => colouring.signs[colouring.of[row]];

  function readColours() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    colours = { page: value("--page"), text: value("--text"), accent: value("--accent"), signs: {} };
    for (const { signs } of colourings) {
      for (const sign of signs) if (sign) colours.signs[sign.colour] ??= value(`--${sign.colour}`);
    }
  }

  function resize() {
    width = box.clientWidth;
    height = box.clientHeight;
    scale = devicePixelRatio || 1;
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
    points.begin(canvas.width, canvas.height, scale, rgb(colours.page));
    // The more pictures in the less room, the smaller.
    const crowd = 0.19 * Math.sqrt((width * height) / n);
    const size = Math.min(6, Math.min(5, Math.max(3, crowd)) * view.zoom ** 0.25);
    const seen = [], parts = colouring.signs.map((sign) => sign && rgb(colours.signs[sign.colour]));
    const rings = points.masks(size + 3);
    // Pictures of the chosen topic or class lie on top of the others.
    for (const lit of topic === null && only === null && found === null ? [true] : [false, true]) {
      const masks = points.masks(lit ? size : 0.7 * size);
      for (let row = 0; row < n; row++) {
        if (belongs(row) !== lit) continue;
        const a = across(row), b = down(row);
        if (!inside(a, b, 40)) continue;
        if (marked.has(row)) points.put(a, b, rings[0], rgb(colours.accent), 1);
        points.put(a, b, masks[signOf(row).shape], parts[colouring.of[row]], lit ? 1 : 0.3);
        if (lit) seen.push(row);
      }
    }
    points.end();
    // What is chosen has room before the labels, and these before all other thumbnails.
    drawn = [];
    const close = view.zoom >= THUMBNAILS_FROM;
    if (close && chosen >= 0) thumbnails([chosen], []);
    context.font = "600 12px system-ui, sans-serif";
    named = labels.place({
      zoom: view.zoom, width, height, toX, toY,
      topic: close ? null : topic, // near by, the faint ones are told apart as well
      above: close ? sideOf(view.zoom) / 2 + 14 : 0,
      taken: drawn.map(({ left, top, side }) => [left - 4, top - 4, left + side + 4, top + side + 4]),
      measure: (text) => context.measureText(text).width,
    });
    if (close) thumbnails(seen, named);
    writeLabels();
    for (const row of [chosen, active]) if (row >= 0) ring(row);
    if (lasso) drawLasso();
    if (active >= 0) showTip(active);
  }

  // As many thumbnails as fit without covering each other or a label; the other pictures stay points.
  function thumbnails(rows, labelled) {
    const side = sideOf(view.zoom), gap = side + 6;
    began = performance.now();
    const near = new Map(); // those that are drawn, by squares as large as one: only neighbours can be covered
    const square = (value) => Math.floor(value / gap);
    const put = (d) => {
      const key = `${square(d.left)} ${square(d.top)}`;
      near.set(key, [...(near.get(key) ?? []), d]);
    };
    drawn.forEach(put);
    const covers = (left, top) => {
      for (const column of [-1, 0, 1]) {
        for (const line of [-1, 0, 1]) {
          const there = near.get(`${square(left) + column} ${square(top) + line}`) ?? [];
          if (there.some((d) => Math.abs(d.left - left) < gap && Math.abs(d.top - top) < gap)) return true;
        }
      }
      return labelled.some((l) => left - 4 < l.right && left + side + 4 > l.left && top - 4 < l.bottom && top + side + 4 > l.top);
    };
    for (const row of rows) {
      const left = across(row) - side / 2, top = down(row) - side / 2;
      if (!inside(left + side / 2, top + side / 2, side / 2) || covers(left, top) || !paint(row, left, top, side)) continue;
      drawn.push({ row, left, top, side });
      put(drawn.at(-1));
    }
  }

  function paint(row, left, top, side) {
    const small = cutOut(row);
    if (!small) return false;
    context.fillStyle = marked.has(row) ? colours.accent : colours.signs[signOf(row).colour];
    const edge = marked.has(row) ? 5 : 3;
    context.fillRect(left - edge, top - edge, side + 2 * edge, side + 2 * edge);
    context.drawImage(small, left, top, side, side);
    context.save();
    context.translate(left + 2, top + 2);
    context.fillStyle = colours.page;
    context.fillRect(-7, -7, 14, 14);
    context.scale(5, 5);
    context.fillStyle = colours.signs[signOf(row).colour];
    context.fill(paths[signOf(row).shape]);
    context.restore();
    return true;
  }

  // A thumbnail as a canvas of its own, or null until there is one. To draw it from its sheet may decode all of that
  // anew, so it is done once, and in each frame for a few milliseconds only.
  function cutOut(row) {
    const { place, columns, perSheet, lines } = data.thumbnails;
    let small = cutOuts.get(row);
    if (!small) {
      if (place[row] < 0) return null;
      const sheet = Math.floor(place[row] / perSheet), image = load(sheet);
      if (!image) return null;
      if (performance.now() - began > MOST_CUTTING) {
        redraw();
        return null;
      }
      const step = image.naturalWidth / columns, side = Math.ceil(LARGEST_SIDE * scale);
      const column = place[row] % columns, line = Math.floor((place[row] % perSheet) / columns);
      small = h("canvas", { width: side, height: side });
      small.getContext("2d").drawImage(image, column * step, (line * image.naturalHeight) / lines[sheet], step, step, 0, 0, side, side);
    }
    cutOuts.delete(row);
    cutOuts.set(row, small); // the last one to go
    if (cutOuts.size > MOST_CUT_OUT) cutOuts.delete(cutOuts.keys().next().value);
    return small;
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

  function writeLabels() {
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.strokeStyle = colours.page;
    context.lineWidth = 4;
    context.fillStyle = colours.text;
    for (const { text, x: at, top, bottom } of named) {
      context.strokeText(text, at, (top + bottom) / 2);
      context.fillText(text, at, (top + bottom) / 2);
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

  function drawLasso() {
    context.beginPath();
    for (const [a, b] of lasso) context.lineTo(a, b);
    context.closePath();
    context.globalAlpha = 0.15;
    context.fillStyle = colours.accent;
    context.fill();
    context.globalAlpha = 1;
    context.strokeStyle = colours.accent;
    context.lineWidth = 2;
    context.stroke();
  }

  // Whether a place lies inside of the lasso: a line from it to the right crosses the edge an odd number of times.
  function surrounds(a, b) {
    let within = false;
    for (let i = 0, j = lasso.length - 1; i < lasso.length; j = i++) {
      const [ax, ay] = lasso[i], [bx, by] = lasso[j];
      if (ay > b !== by > b && a < ((bx - ax) * (b - ay)) / (by - ay) + ax) within = !within;
    }
    return within;
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
    see(zoom, left, top);
    redraw();
  }

  function see(zoom, left, top) {
    view.zoom = Math.min(LARGEST_ZOOM, Math.max(1, zoom));
    const most = 1 - 1 / view.zoom;
    view.x = Math.min(most, Math.max(0, left));
    view.y = Math.min(most, Math.max(0, top));
    // The whole map leaves one finger to the page's scrolling; a part of it is moved by it.
    setTouch();
  }

  const setTouch = () => (canvas.style.touchAction = view.zoom > 1 || lassoing ? "none" : "pan-y");

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
  document.addEventListener("themechange", () => {
    readColours();
    redraw();
  });
  canvas.setAttribute("aria-label", `Map of ${count(n, "picture")}; the list below it holds the same pictures`);
  if (data.topics.length > N_COLOURS * N_SHAPES) {
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
    drawsLasso: () => lassoing,
    // A lasso so far; at the end it selects the pictures inside that are not faint, and null takes it away.
    drawLasso(line, atEnd = false) {
      lasso = line;
      if (atEnd) {
        const rows = data.ids.flatMap((_, row) => (belongs(row) && surrounds(across(row), down(row)) ? [row] : []));
        lasso = null;
        if (rows.length) select(rows);
      }
      redraw();
    },
  });

  return {
    activate,
    reveal: (row) => reveal(x[row], y[row]),
    // What the panel shows: one topic's pictures, one picture, some pictures, or nothing in particular.
    choose({ topic: k = null, row = -1, rows = null } = {}) {
      [topic, chosen, active, found] = [k, row, -1, rows && new Set(rows)];
      tip.hidden = true;
      const centre = labels.centre(k);
      if (row >= 0) reveal(x[row], y[row]);
      else if (centre) reveal(centre.x, centre.y);
      redraw();
    },
    box,
    // A part of the map, at once: the zoom, and the corner in the unit square.
    look(zoom, left, top) {
      see(zoom, left, top);
      draw();
    },
    mark(rows) {
      marked = rows;
      redraw();
    },
    useLasso(on) {
      lassoing = on;
      setTouch();
    },
    colour(how) {
      [colouring, only] = [how, null];
      redraw();
    },
    // Pictures of one class of the colouring alone, or of all.
    lightUp(place) {
      only = place;
      redraw();
    },
    isActive: () => active >= 0,
    state: () => ({ ...view, thumbnails: drawn.length, topic, chosen, active, colouring: colouring.name, only, found: found && found.size }),
    // What is written on the map now: topic, text and box in CSS px from the map's corner.
    labels: () => named.map((label) => ({ ...label })),
  };
}
