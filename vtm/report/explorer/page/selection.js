// Pictures that the reader has selected, with the lasso or one by one, and what can be done with them.

const SELECTED = "#selected";

function createSelection(map, review) {
  const rows = new Set(), listeners = [];
  const bar = document.getElementById("selection"), told = document.getElementById("n-selected");
  const lasso = document.getElementById("lasso");

  function changed() {
    bar.hidden = rows.size === 0;
    told.textContent = rows.size ? `${count(rows.size, "picture")} selected` : "";
    map.mark(rows);
    listeners.forEach((listener) => listener());
  }

  const sorted = () => [...rows].sort((a, b) => a - b);
  const addressOf = (row) => data.originals?.[row][0];

  // The columns of `vtm tag`: keywords as far as they are not rejected, with those that were added.
  function tags() {
    const line = (row) => {
      const words = review.kept(row), chances = new Map(data.keywords[row] ?? []);
      const topics = data.pictureTopics[row].map(([k, share]) => `${data.topics[k].number}: ${words_(k)} (${percent(share)})`);
      const sure = words.map((word) => chances.get(word)).map((chance) => (chance == null ? "" : (chance / 1000).toFixed(2)));
      return [pathOf(addressOf(row), data.ids[row]), words.join(", "), sure.join(", "), topics.join(", "), data.originals?.[row][1] ?? ""];
    };
    const words_ = (k) => data.topics[k].name || words(k, 3).replaceAll(", ", " ");
    download("tags.csv", ["picture", "keywords", "confidences", "topics", "fingerprint"], sorted().map(line));
  }

  const ids = () => download("ids.csv", ["id"], sorted().map((row) => [data.ids[row]]));
  document.getElementById("download-ids").addEventListener("click", ids);
  document.getElementById("download-tags").addEventListener("click", tags);
  document.getElementById("clear").addEventListener("click", () => {
    rows.clear();
    changed();
    document.getElementById("canvas").focus(); // the button is gone
  });
  lasso.addEventListener("click", () => {
    const on = lasso.getAttribute("aria-pressed") === "false";
    lasso.setAttribute("aria-pressed", String(on));
    map.useLasso(on);
  });

  return {
    has: (row) => rows.has(row),
    sorted,
    add(more) {
      for (const row of more) rows.add(row);
      changed();
    },
    toggle(row) {
      if (!rows.delete(row)) rows.add(row);
      changed();
    },
    onChange: (listener) => listeners.push(listener),
  };
}
