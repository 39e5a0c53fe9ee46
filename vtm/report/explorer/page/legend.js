// By what the map is coloured, and what its signs stand for then. The topics' signs stand in the panel.

function createLegend(map, selection) {
  const choice = document.getElementById("colouring"), legend = document.getElementById("legend");
  choice.append(...colourings.map(({ name }, i) => h("option", { value: i }, name)));
  choice.closest("label").hidden = colourings.length === 1;

  function show() {
    const { labels, of, signs } = colourings[choice.value];
    const numbers = new Map();
    for (const place of of) numbers.set(place, (numbers.get(place) ?? 0) + 1);
    const entries = (labels ?? []).flatMap((label, place) =>
      numbers.has(place)
        ? h(
            "button",
            { type: "button", "aria-pressed": "false", "data-place": place },
            drawSign(signs[place]),
            h("span", null, inTheirLanguage(label), ` (${numbers.get(place).toLocaleString("en")})`),
          )
        : [],
    );
    legend.hidden = entries.length === 0;
    legend.setAttribute("aria-label", `Legend: ${colourings[choice.value].name}; a value shows its pictures alone`);
    legend.replaceChildren(...entries);
    map.colour(colourings[choice.value]);
  }

  // The pictures of the value that is shown alone.
  function offerSelection(place) {
    const { of } = colourings[choice.value];
    legend.querySelector(".these")?.remove();
    if (place === null) return;
    const button = h("button", { type: "button", class: "these" }, "Select these");
    button.addEventListener("click", () => selection.add(of.flatMap((other, row) => (other === place ? [row] : []))));
    legend.append(button);
  }

  choice.addEventListener("change", show);
  legend.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-place]");
    if (!button) return;
    const wanted = button.getAttribute("aria-pressed") === "false";
    for (const other of legend.querySelectorAll("[data-place]")) other.setAttribute("aria-pressed", String(wanted && other === button));
    const place = wanted ? Number(button.dataset.place) : null;
    map.lightUp(place);
    offerSelection(place);
  });
  show();
}
