// Keywords that the reader accepts, rejects and adds. Decisions stay in the browser's storage, by the place of the page and
// the id of the picture, so that a page built anew in the same place has them, too; as a table, `vtm apply` reads them.

const STORE = `vtm review ${location.pathname}`;

function createReview() {
  const bar = document.getElementById("review"), told = document.getElementById("n-reviewed");
  const listeners = [];
  let decided = {}; // id -> {yes: words, no: words, address, fingerprint}
  let keeps = true;

  function load() {
    try {
      decided = JSON.parse(localStorage.getItem(STORE)) ?? {};
    } catch {
      keeps = false;
    }
  }

  function changed() {
    try {
      if (Object.keys(decided).length) localStorage.setItem(STORE, JSON.stringify(decided));
      else localStorage.removeItem(STORE);
    } catch {
      keeps = false;
    }
    show();
  }

  function show() {
    const ids = Object.keys(decided);
    const open = ids.reduce((sum, id) => sum + (rowOf(id) === undefined ? 0 : undecided(rowOf(id)).length), 0);
    bar.hidden = ids.length === 0;
    told.textContent = ids.length
      ? `${count(ids.length, "picture")} reviewed` +
        (open ? `, ${count(open, "keyword")} undecided (not in the table)` : "") +
        (keeps ? "" : ". This browser keeps nothing: download the table before you close the page")
      : "";
    listeners.forEach((listener) => listener());
  }

  const rowOf = (id) => rowOfId.get(addressable(id));
  const proposed = (row) => (data.keywords[row] ?? []).map(([word]) => word);
  const of = (row) => decided[data.ids[row]] ?? { yes: [], no: [] };
  const undecided = (row) => proposed(row).filter((word) => !of(row).yes.includes(word) && !of(row).no.includes(word));
  const accepted = (row) => {
    const known = proposed(row);
    return [...known.filter((word) => of(row).yes.includes(word)), ...of(row).yes.filter((word) => !known.includes(word))];
  };

  // A word of a picture is right (true), wrong (false), or not decided (null).
  function decide(row, word, verdict) {
    const without = (words) => words.filter((other) => other !== word);
    const yes = without(of(row).yes), no = without(of(row).no);
    if (verdict === true) yes.push(word);
    // A word that nobody proposed is not wrong, but gone.
    if (verdict === false && proposed(row).includes(word)) no.push(word);
    const id = data.ids[row], [address, fingerprint] = data.originals?.[row] ?? ["", ""];
    if (yes.length + no.length) decided[id] = { yes, no, address, fingerprint };
    else delete decided[id];
  }

  // Of text in a field: keywords with commas, semicolons or lines between them.
  const typed = (text) => [...new Set(text.split(/[,;\n]/).map((word) => word.replace(/\s+/gu, " ").trim()).filter(Boolean))];

  document.getElementById("download-review").addEventListener("click", () =>
    download(
      "reviewed.csv",
      ["picture", "keywords", "fingerprint"],
      Object.entries(decided).map(([id, { yes, address, fingerprint }]) => [
        pathOf(address, id),
        (rowOf(id) === undefined ? yes : accepted(rowOf(id))).join(", "),
        fingerprint,
      ]),
    ),
  );
  const discard = document.getElementById("discard");
  let asked = 0; // a second click within some seconds discards
  const ask = (on) => {
    clearTimeout(asked);
    asked = on ? setTimeout(() => ask(false), 5000) : 0;
    discard.textContent = on ? "Really discard all?" : "Discard";
  };
  discard.addEventListener("click", () => {
    if (!asked) return ask(true);
    ask(false);
    decided = {};
    changed();
    document.getElementById("canvas").focus(); // the button is gone
  });
  addEventListener("storage", (event) => {
    if (event.key !== STORE && event.key !== null) return;
    load();
    show();
  });

  load();
  show();
  const verdict = (row, word) => (of(row).yes.includes(word) ? true : of(row).no.includes(word) ? false : null);
  return {
    any: data.keywords.length > 0,
    accepted,
    proposed,
    undecided,
    verdict,
    typed,
    // What a table of tags holds: what is accepted, and what nobody has rejected.
    kept: (row) => [...proposed(row).filter((word) => verdict(row, word) !== false), ...accepted(row).filter((word) => !proposed(row).includes(word))],
    // The same about words of pictures; [[row, word], ...].
    decide(pairs, wanted) {
      for (const [row, word] of pairs) decide(row, word, wanted);
      changed();
    },
    onChange: (listener) => listeners.push(listener),
  };
}

// Two buttons for a word; pressed again, a decision is taken back. `pairs` are those that they are about.
function verdictButtons(review, word, pairs) {
  const all = (wanted) => pairs().every(([row]) => review.verdict(row, word) === wanted);
  const button = (wanted, does, mark) =>
    h("button", { type: "button", "aria-pressed": String(all(wanted)), "aria-label": `${does} ${word}`, title: does, "data-does": does }, mark);
  const both = h("span", { class: "verdict", role: "group" , "aria-label": word }, button(true, "Accept", "✓"), button(false, "Reject", "✗"));
  both.addEventListener("click", (event) => {
    const pressed = event.target.closest("button");
    if (!pressed) return;
    const wanted = pressed.dataset.does === "Accept";
    review.decide(pairs(), all(wanted) ? null : wanted);
  });
  return both;
}

// A field for further keywords of some pictures.
function addForm(review, rows) {
  const input = h("input", { id: "new-keyword", autocomplete: "off", autocapitalize: "off", lang: data.language });
  const form = h("form", { class: "add" }, h("label", { for: "new-keyword" }, "Add a keyword"), input, h("button", null, "Add"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = review.typed(input.value);
    input.value = "";
    if (words.length) review.decide(rows().flatMap((row) => words.map((word) => [row, word])), true);
  });
  return form;
}

// The keywords of a picture, with what was decided. It fills itself anew, and leaves the focus where it is.
function reviewSection(review, row) {
  const list = h("ul", { class: "review" });
  const told = h("p", { class: "help", role: "status" });
  const all = (does, wanted) => {
    const button = h("button", { type: "button" }, `${does} all`);
    button.addEventListener("click", () => review.decide(review.proposed(row).map((word) => [row, word]), wanted));
    return button;
  };
  const chances = new Map(data.keywords[row]);

  function fill() {
    const focused = document.activeElement?.getAttribute("aria-label");
    const words = [...new Set([...review.proposed(row), ...review.accepted(row)])];
    list.replaceChildren(
      ...words.map((word) =>
        h(
          "li",
          { class: review.verdict(row, word) === false ? "rejected" : null },
          inTheirLanguage(word),
          h("span", { class: "number" }, chances.get(word) != null ? percent(chances.get(word)) : review.proposed(row).includes(word) ? "" : "added"),
          verdictButtons(review, word, () => [[row, word]]),
        ),
      ),
    );
    told.textContent =
      words.length === 0 ? "No keyword is likely enough." : `${review.accepted(row).length} accepted, ${review.undecided(row).length} undecided`;
    if (focused) [...list.querySelectorAll("button")].find((button) => button.getAttribute("aria-label") === focused)?.focus();
  }

  fill();
  const section = h(
    "section",
    null,
    h("h3", null, "Keywords to review"),
    list,
    told,
    review.proposed(row).length > 1 && h("p", { class: "bar start" }, all("Accept", true), all("Reject", false)),
    addForm(review, () => [row]),
  );
  review.onChange(() => section.isConnected && fill());
  return section;
}
