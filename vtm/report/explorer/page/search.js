// Search over topic words, texts and ids: every word of the query must begin a word there.

const TEXTS_SHOWN = 30;
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const wordsOf = (text) => plain(text).split(/[^\p{L}\p{N}]+/u).filter(Boolean);

function createSearch(meaning) {
  const form = document.getElementById("search"), input = document.getElementById("query");
  const status = document.getElementById("found"), results = document.getElementById("results");
  // Also those that stand in the topic at another lambda.
  const further = (k) => Object.values(data.relevance?.topics ?? {}).flatMap((topics) => topics[k].map(([place]) => data.relevance.words[place]));
  const allWords = (k) => [...Object.values(data.topics[k].words).flatMap((list) => list.map(([word]) => word)), ...further(k)];
  const topicWords = data.topics.map((_, k) => [String(data.topics[k].number), ...wordsOf(data.topics[k].name), ...allWords(k)].flatMap((word) => wordsOf(word)));
  let textWords = null; // made when first needed: the page opens sooner

  function find(query) {
    const asked = wordsOf(query);
    textWords ??= data.texts.map((text, row) => wordsOf(`${text} ${data.ids[row]}`));
    const hit = (words) => asked.every((part) => words.some((word) => word.startsWith(part)));
    return {
      asked,
      topics: asked.length ? topicOrder.filter((k) => hit(topicWords[k])) : [],
      rows: asked.length ? textWords.flatMap((words, row) => (hit(words) ? [row] : [])) : [],
    };
  }

  // A topic is shown with the words that were asked for, wherever they stand in it.
  function topicResult(k, asked) {
    const found = [...new Set(allWords(k))].filter((word) => asked.some((part) => wordsOf(word).some((w) => w.startsWith(part))));
    const shown = [...new Set([...found, ...words(k, 5).split(", ")])].slice(0, Math.max(5, found.length));
    return h(
      "li",
      null,
      h(
        "a",
        { href: topicAddress(k), class: "topic" },
        sign(k),
        h("span", null, `Topic ${data.topics[k].number}: ${data.topics[k].name && `${data.topics[k].name}: `}`, shown.map((word, i) => [i ? ", " : "", h(found.includes(word) ? "mark" : "span", { lang: data.language }, word)])),
      ),
    );
  }

  // What is near in meaning to the words, or else which words begin like the last one.
  function byMeaning() {
    const words = meaning.wordsIn(input.value);
    if (words) {
      const asked = words.join(" "), near = meaning.near(words).words.slice(0, 6);
      return [h("a", { href: wordAddress(asked) }, h("span", null, "Words and pictures near ", h("mark", { lang: data.language }, asked), ": ", inTheirLanguage(near.map(([word]) => word).join(", "))))];
    }
    return meaning.completions(input.value, 6).map((word) => h("a", { href: wordAddress(word) }, h("span", null, "Words and pictures near ", inTheirLanguage(word))));
  }

  function show() {
    const { asked, topics, rows } = find(input.value);
    const nothing = asked.length === 0, near = nothing ? [] : byMeaning();
    results.hidden = nothing || topics.length + rows.length + near.length === 0;
    status.textContent = nothing ? "" : `${count(topics.length, "topic")} and ${count(rows.length, "text")} found`;
    if (results.hidden) return results.replaceChildren();
    const more = rows.length - TEXTS_SHOWN;
    results.replaceChildren(
      ...(topics.length ? [h("h2", null, "Topics"), h("ul", null, topics.map((k) => topicResult(k, asked)))] : []),
      ...(rows.length
        ? [
            h("h2", null, "Texts"),
            h("ul", null, rows.slice(0, TEXTS_SHOWN).map((row) => h("li", null, h("a", { href: textAddress(row) }, inTheirLanguage(caption(row)))))),
          ]
        : []),
      ...(near.length ? [h("h2", null, "By meaning"), h("ul", null, near.map((link) => h("li", null, link)))] : []),
      ...(more > 0 ? [h("p", null, `${count(more, "more text")}: add a word to narrow the search.`)] : []),
    );
  }

  function close() {
    results.hidden = true;
    status.textContent = "";
  }

  const links = () => [...results.querySelectorAll("a")];
  input.addEventListener("input", show);
  input.addEventListener("focus", () => results.hidden && show());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    links()[0]?.click();
  });
  form.addEventListener("keydown", (event) => {
    const all = links(), at = all.indexOf(document.activeElement);
    if (event.key === "Escape" && !results.hidden) {
      event.preventDefault(); // some browsers would empty the field as well
      event.stopPropagation();
      if (at >= 0) input.focus();
      close();
    } else if (event.key === "ArrowDown" && all.length && !results.hidden) {
      event.preventDefault();
      all[Math.min(at + 1, all.length - 1)].focus();
    } else if (event.key === "ArrowUp" && at >= 0) {
      event.preventDefault();
      (all[at - 1] ?? input).focus();
    }
  });
  results.addEventListener("click", (event) => event.target.closest("a") && close());
  form.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !form.contains(event.relatedTarget)) close();
  });
  document.addEventListener("pointerdown", (event) => form.contains(event.target) || close());
}
