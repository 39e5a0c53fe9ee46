// The map as a list: the same pictures by topic, for the keyboard and for screen readers.

function createList(map, selection) {
  const box = document.getElementById("list-box"), list = document.getElementById("list");
  const links = []; // in the order of the list
  const linkOfRow = new Map();

  for (const k of topicOrder) {
    const rows = mainTopic.flatMap((main, row) => (main === k ? [row] : []));
    if (rows.length === 0) continue;
    rows.sort((a, b) => data.pictureTopics[b][0][1] - data.pictureTopics[a][0][1] || a - b);
    const items = rows.map((row) => {
      const link = h("a", { href: textAddress(row), tabindex: "-1", lang: data.language, dir: "auto" }, caption(row));
      link.dataset.row = row;
      links.push(link);
      linkOfRow.set(row, link);
      return h("li", null, link);
    });
    list.append(
      h("h3", null, sign(k), h("span", null, `Topic ${data.topics[k].number}: `, inTheirLanguage(words(k, 3)), `, ${count(rows.length, "picture")}`)),
      h("ul", null, items),
    );
  }
  links.forEach((link, position) => (link.dataset.position = position));
  let stop = links[0]; // the one link that the Tab key reaches
  stop.tabIndex = 0;

  function makeStop(link) {
    stop.tabIndex = -1;
    stop = link;
    stop.tabIndex = 0;
  }

  const PAGE = 10;
  const moves = {
    ArrowDown: (at) => at + 1,
    ArrowRight: (at) => at + 1,
    ArrowUp: (at) => at - 1,
    ArrowLeft: (at) => at - 1,
    PageDown: (at) => at + PAGE,
    PageUp: (at) => at - PAGE,
    Home: () => 0,
    End: () => links.length - 1,
  };
  list.addEventListener("keydown", (event) => {
    const link = event.target.closest("a");
    if (!link || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " ") {
      event.preventDefault();
      return selection.toggle(Number(link.dataset.row));
    }
    if (!Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    const to = moves[event.key](Number(link.dataset.position));
    links[Math.min(links.length - 1, Math.max(0, to))].focus();
  });
  list.addEventListener("focusin", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    makeStop(link);
    const row = Number(link.dataset.row);
    map.reveal(row);
    map.activate(row);
  });
  list.addEventListener("focusout", () => map.activate(-1));
  list.addEventListener("mouseover", (event) => {
    const link = event.target.closest("a");
    if (link) map.activate(Number(link.dataset.row));
  });
  list.addEventListener("mouseleave", () => map.activate(-1));

  selection.onChange(() => {
    for (const link of links) link.toggleAttribute("data-selected", selection.has(Number(link.dataset.row)));
  });
  box.open = matchMedia("(min-width: 60rem)").matches;
  return {
    rows: links.map((link) => Number(link.dataset.row)),
    // The Tab key goes on from the picture that the panel shows.
    choose(row) {
      for (const link of list.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
      const link = linkOfRow.get(row);
      if (!link) return;
      link.setAttribute("aria-current", "true");
      makeStop(link);
      // scrollIntoView would move the page as well.
      if (document.activeElement !== link) list.scrollTop = link.offsetTop - list.clientHeight / 2;
    },
  };
}
