// Elements, made without any HTML text: what a caption holds is shown, never read as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return node;
}

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// A sign on the map, {colour, shape}.
function drawSign({ colour, shape }) {
  const path = svg("path", { d: SHAPES[shape] });
  path.style.fill = `var(--${colour})`;
  return svg("svg", { class: "sign", viewBox: "-1.3 -1.3 2.6 2.6", "aria-hidden": "true" }, path);
}

const sign = (k) => drawSign(colourings[0].signs[k]);

const topicLink = (k, n = 3) =>
  h("a", { href: topicAddress(k), class: "topic" }, sign(k), h("span", null, `${data.topics[k].number} `, inTheirLanguage(words(k, n))));

// Texts and words are of the corpus' language, the page around them is English.
const inTheirLanguage = (text) => h("span", { lang: data.language, dir: "auto" }, text);

// A thumbnail from its sheet; its size comes from the styles. What it shows is said where `silent` is not set.
function thumbnail(row, { silent = false } = {}) {
  const { place, columns, perSheet, sheets, lines } = data.thumbnails;
  const says = silent ? { "aria-hidden": "true" } : { role: "img", "aria-label": caption(row), lang: data.language };
  if (place[row] < 0) return h("span", { class: "thumbnail missing", ...says }, "no picture");
  const node = h("span", { class: "thumbnail", ...says });
  const sheet = Math.floor(place[row] / perSheet);
  const column = place[row] % columns, line = Math.floor((place[row] % perSheet) / columns);
  const part = (at, of) => `${of > 1 ? (100 * at) / (of - 1) : 0}%`;
  node.style.backgroundImage = `url("${sheets[sheet]}")`;
  node.style.backgroundSize = `${100 * columns}% ${100 * lines[sheet]}%`;
  node.style.backgroundPosition = `${part(column, columns)} ${part(line, lines[sheet])}`;
  return node;
}

function bar(share) {
  const filled = h("span");
  filled.style.width = `${100 * Math.min(1, share)}%`;
  return h("span", { class: "track", "aria-hidden": "true" }, filled);
}
