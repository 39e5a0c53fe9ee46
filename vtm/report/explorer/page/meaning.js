// Words and pictures that are near in meaning: vectors of 8 bits, made by Python (vtm.report.explorer.shown.meaning_of).

const NEAR_WORDS = 12, NEAR_PICTURES = 24;

function createMeaning() {
  const known = data.meaning;
  const rowOfWord = new Map((known?.words ?? []).map((word, row) => [word, row]));
  let spaces = null; // made when they are first asked for: the page opens sooner

  const bytes = (text) => Int8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const lengths = (vectors) => {
    const found = new Float64Array(vectors.length / known.dims);
    for (let i = 0; i < vectors.length; i++) found[Math.floor(i / known.dims)] += vectors[i] ** 2;
    return found.map((square) => Math.sqrt(square) || 1);
  };
  function space(name) {
    if (!spaces) {
      const [words, pictures] = [bytes(known.wordVectors), bytes(known.pictureVectors)];
      spaces = { words: [words, lengths(words)], pictures: [pictures, lengths(pictures)] };
    }
    return spaces[name];
  }

  // The words that a query is made of, or null where one of them is unknown; a phrase of the vocabulary is one.
  function wordsIn(query) {
    const asked = query.toLowerCase().replace(/\s+/gu, " ").trim();
    if (!known || !asked) return null;
    const words = rowOfWord.has(asked) ? [asked] : asked.split(" ");
    return words.every((word) => rowOfWord.has(word)) ? [...new Set(words)] : null;
  }

  // The mean direction of some words.
  function direction(words) {
    const [vectors, length] = space("words"), mean = new Float64Array(known.dims);
    for (const row of words.map((word) => rowOfWord.get(word))) {
      for (let i = 0; i < known.dims; i++) mean[i] += vectors[row * known.dims + i] / length[row];
    }
    return mean;
  }

  // The rows of a space that are nearest to a direction, [row, cosine], the nearest first.
  function nearest(name, mean, most, without = new Set()) {
    const [vectors, length] = space(name), found = [];
    const size = Math.hypot(...mean) || 1;
    for (let row = 0; row < length.length; row++) {
      if (without.has(row)) continue;
      let product = 0;
      for (let i = 0; i < known.dims; i++) product += mean[i] * vectors[row * known.dims + i];
      found.push([row, product / size / length[row]]);
    }
    return found.sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, most);
  }

  return {
    any: Boolean(known),
    wordsIn,
    // Words of the vocabulary that begin like the last one of a query.
    completions(query, most) {
      const begun = plain(query.trim().split(/\s+/u).at(-1) ?? "");
      return known && begun ? known.words.filter((word) => plain(word).startsWith(begun)).slice(0, most) : [];
    },
    near(words) {
      const mean = direction(words), own = new Set(words.map((word) => rowOfWord.get(word)));
      return {
        words: nearest("words", mean, NEAR_WORDS, own).map(([row, cosine]) => [known.words[row], cosine]),
        pictures: nearest("pictures", mean, NEAR_PICTURES),
      };
    },
    megabytes: () => (3 * (known.wordVectors.length + known.pictureVectors.length)) / 4e6,
  };
}

const wordAddress = (words) => `#word=${encodeURIComponent(words)}`;
const wordLink = (words) => h("a", { href: wordAddress(words) }, inTheirLanguage(words));

function wordPanel(words) {
  const { words: near, pictures } = meaning.near(words);
  const rows = pictures.map(([row]) => row);
  const topics = topicOrder.filter((k) =>
    Object.values(data.topics[k].words).some((list) => list.some(([word]) => words.includes(word))),
  );
  return [
    h("nav", { class: "bar", "aria-label": "Topics" }, closeLink()),
    heading("Near in meaning: ", inTheirLanguage(words.join(" "))),
    h("h3", null, "Words"),
    h(
      "ol",
      { class: "topics" },
      near.map(([word, cosine]) => h("li", null, wordLink(word), h("span", { class: "number" }, bar(cosine), minus(cosine.toFixed(2))))),
    ),
    topics.length > 0 && [
      h("h3", null, "Topics that have it among their first words"),
      h("ul", { class: "plain" }, topics.map((k) => h("li", null, topicLink(k, 5)))),
    ],
    h("h3", null, "Pictures"),
    h("p", { class: "help" }, "By their places alone: vtm match also weighs topics and words, and says how likely each is."),
    selectAll(rows),
    h(
      "ol",
      { class: "gallery" },
      pictures.map(([row, cosine]) => h("li", null, h("a", { href: textAddress(row) }, thumbnail(row), h("span", { class: "number" }, minus(cosine.toFixed(2)))))),
    ),
  ];
}
