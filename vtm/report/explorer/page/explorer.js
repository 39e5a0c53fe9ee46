// The page: what its address names is what it shows.

const panel = document.getElementById("panel");
const map = createMap({
  open(row) {
    opener = document.getElementById("canvas");
    location.hash = textAddress(row);
  },
  select: (rows) => selection.add(rows),
});
const review = createReview();
const selection = createSelection(map, review);
const list = createList(map, selection);
createLegend(map, selection);
const narrow = matchMedia("(max-width: 60rem)");
let opener = null; // where the reader was when the panel left the overview
const meaning = createMeaning();
createSearch(meaning);

// What an address asks for: {topic: k}, {row}, {words}, {selected: true}, {missing: what}, or nothing for the overview.
function read(hash) {
  if (hash === SELECTED) return { selected: true };
  const [, name, value] = /^#(\w+)=(.*)$/su.exec(hash) ?? [];
  if (name === "topic") {
    const k = /^\d+$/.test(value) ? data.topics.findIndex((topic) => topic.number === Number(value)) : -1;
    return k >= 0 ? { topic: k } : { missing: `topic ${shorten(decode(value), 60)}` };
  }
  if (name === "text") {
    const id = decode(value);
    return rowOfId.has(id) ? { row: rowOfId.get(id) } : { missing: `text ${shorten(id, 60)}` };
  }
  if (name === "word") {
    const query = decode(value), words = meaning.wordsIn(query);
    return words ? { words } : { missing: `word ${shorten(query, 60)}` };
  }
  return {};
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a stray percent sign
  }
}

function show({ focus }) {
  const asked = read(location.hash);
  const content =
    asked.topic !== undefined ? topicPanel(asked.topic)
    : asked.row !== undefined ? textPanel(asked.row)
    : asked.words ? wordPanel(asked.words)
    : asked.selected ? selectionPanel()
    : asked.missing ? missingPanel(asked.missing)
    : overviewPanel();
  panel.replaceChildren(...content.flat(Infinity).filter((node) => node));
  map.choose(asked.words ? { rows: meaning.near(asked.words).pictures.map(([row]) => row) } : asked);
  list.choose(asked.row);
  const title = panel.querySelector("h2");
  document.title = `${title.textContent} – ${data.title}`;
  if (!focus) return;
  title.focus({ preventScroll: true });
  if (narrow.matches || panel.getBoundingClientRect().top < 0) panel.scrollIntoView();
}

addEventListener("hashchange", () => {
  const home = Object.keys(read(location.hash)).length === 0;
  show({ focus: !home });
  if (!home) return;
  // Back where the reader came from, if that is still there.
  if (opener?.isConnected && opener !== document.body) opener.focus();
  else panel.querySelector("h2").focus();
  opener = null;
});
document.addEventListener(
  "click",
  (event) => {
    const link = event.target.closest?.("a[href^='#']");
    if (link && !panel.contains(link)) opener = link.closest("#results") ? document.getElementById("query") : link;
  },
  true,
);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  // First the preview on the map goes, then the panel.
  if (map.isActive()) map.activate(-1);
  else if (Object.keys(read(location.hash)).length) location.hash = OVERVIEW;
});

// The panel of the selection is written anew; what the focus is on has a name there, too.
for (const about of [selection, review]) {
  about.onChange(() => {
    if (location.hash !== SELECTED) return;
    const name = document.activeElement?.getAttribute("aria-label"), id = document.activeElement?.id;
    show({ focus: false });
    const again = [...panel.querySelectorAll("button")].find((button) => name && button.getAttribute("aria-label") === name);
    (again ?? (id ? panel.querySelector(`#${id}`) : null))?.focus();
  });
}
show({ focus: location.hash.includes("=") });
requestAnimationFrame(() => setTimeout(() => performance.mark("explorer-interactive")));
