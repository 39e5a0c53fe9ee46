// What the panel shows: all topics, one topic, or one picture with its text.

const NAMES = { text: "text model", image: "image model" };
const METHODS = { baseline: data.baseline, model: data.model };

// A topic's words with their probability, ordered by relevance (Sievert and Shirley 2014), or as Python ordered them where
// the page cannot do that. It stays as the reader sets it, whichever topic is shown.
let lambda = data.relevance?.weight;

function topicWords(name, k) {
  const known = data.relevance;
  if (!known) return data.topics[k].words[name];
  const log = (p) => Math.log(Math.max(p, Number.MIN_VALUE));
  const seen = new Set();
  return known.topics[name][k]
    .map(([place, p]) => ({ place, p, score: log(p) - (1 - lambda) * log(known.overall[name][place]) }))
    .sort((a, b) => b.score - a.score || a.place - b.place)
    .filter(({ place }) => !seen.has(known.forms[place]) && seen.add(known.forms[place]))
    .slice(0, known.top)
    .map(({ place, p }) => [known.words[place], p]);
}

const heading = (...children) => h("h2", { id: "panel-heading", tabindex: "-1" }, children);
const closeLink = () => h("a", { href: OVERVIEW, class: "close", "aria-label": "Close, back to all topics" }, "All topics");

const apart = (distance) => distance.toFixed(2);

// The topics as a tree: branches of topics that are alike, the nearer the deeper. Those of the first levels are open.
const OPEN_LEVELS = 3;

function topicTree() {
  const { joins, words: about } = data.tree, nTopics = data.topics.length;
  const topicsOf = data.topics.map((_, k) => [k]);
  for (const [a, b] of joins) topicsOf.push([...topicsOf[a], ...topicsOf[b]]);
  const share = (node) => topicsOf[node].reduce((sum, k) => sum + data.topics[k].share, 0);
  const label = (node) =>
    about[node - nTopics]?.join(", ") ??
    [...topicsOf[node]].sort((a, b) => topicPlace[a] - topicPlace[b]).slice(0, 4).map((k) => words(k, 1)).join(", ");

  function branch(node, level) {
    if (node < nTopics) return h("li", null, topicLink(node, 4));
    const [a, b, distance] = joins[node - nTopics];
    const parts = share(a) >= share(b) ? [a, b] : [b, a];
    return h(
      "li",
      null,
      h(
        "details",
        { open: level < OPEN_LEVELS },
        h("summary", null, inTheirLanguage(label(node)), h("span", { class: "number" }, `${count(topicsOf[node].length, "topic")}, ${apart(distance)} apart`)),
        h("ul", null, parts.map((part) => branch(part, level + 1))),
      ),
    );
  }
  return h(
    "details",
    { class: "tree" },
    h("summary", null, "The topics as a tree"),
    h("p", { class: "help" }, "The two topics that are most alike are joined, then the next, until all are one. Distances are cosine distances, 0 for the same."),
    h("ul", null, branch(nTopics + joins.length - 1, 0)),
  );
}

function overviewPanel() {
  const largest = Math.max(...data.topics.map((topic) => topic.share)) || 1;
  const pictures = count(data.ids.length, "picture");
  const sample = data.nAll > data.ids.length;
  const unreadable = Object.entries(data.thumbnails.unreadable);
  const compared = Object.keys(data.matches).map(Number);
  return [
    heading("All topics"),
    h(
      "p",
      null,
      `${count(data.topics.length, "topic")} of ${pictures}, the largest first, with their share of all the pictures’ topics.`,
      sample ? ` These pictures are a sample of ${data.nAll.toLocaleString("en")}; shares and ranks are of the sample.` : "",
    ),
    h(
      "ol",
      { class: "topics" },
      topicOrder.map((k) =>
        h(
          "li",
          null,
          topicLink(k, 5),
          h("span", { class: "number" }, bar(data.topics[k].share / largest), `${(100 * data.topics[k].share).toFixed(1)}%`),
        ),
      ),
    ),
    data.tree && topicTree(),
    compared.length > 0 && [
      h("h3", null, "Pictures for a text"),
      h(
        "p",
        null,
        "Choose a picture on the map or in the list, or search for a text, to see what was found for its text. For instance:",
      ),
      h(
        "ul",
        { class: "plain" },
        spreadOver(compared, 6).map((row) => h("li", null, h("a", { href: textAddress(row) }, inTheirLanguage(caption(row))))),
      ),
    ],
    h(
      "section",
      { class: "about" },
      h("h3", null, "About this page"),
      data.notes.map((note) => h("p", null, note)),
      h(
        "p",
        null,
        "On the map, pictures with alike topics lie together; how far apart two groups lie says little. ",
        "Coherence is NPMI: how much oftener a topic’s ten most probable words stand together in the training texts than chance ",
        "would have it, from −1 (never together) over 0 (as by chance) to 1 (always).",
      ),
      meaning.any &&
        h(
          "p",
          null,
          `Each of ${data.meaning.words.length.toLocaleString("en")} words, and each picture, is a vector of ${data.meaning.dims} numbers of 8 bits: ${meaning.megabytes().toFixed(2)} MB of this page. `,
          data.meaning.kept !== null && `Of a word’s ten nearest words, ${Math.round(100 * data.meaning.kept)}% are those that the unshortened vectors give.`,
        ),
      unreadable.length > 0 && [
        h("p", null, `${count(unreadable.length, "picture")} could not be read:`),
        h("ul", null, unreadable.map(([row, reason]) => h("li", null, `${data.files[row]} (${reason})`))),
      ],
    ),
  ];
}

// n of the values, evenly spread.
const spreadOver = (values, n) =>
  values.length <= n ? values : Array.from({ length: n }, (_, i) => values[Math.floor(((i + 0.5) * values.length) / n)]);

function topicPanel(k) {
  const topic = data.topics[k], place = topicPlace[k], n = topicOrder.length;
  const neighbour = (step) => topicOrder[(place + step + n) % n];
  const reads = Object.keys(NAMES).filter((name) => topic.words[name]);
  return [
    h(
      "nav",
      { class: "bar", "aria-label": "Topics" },
      closeLink(),
      h("a", { href: topicAddress(neighbour(-1)), title: "The next larger topic" }, "Previous"),
      h("a", { href: topicAddress(neighbour(1)), title: "The next smaller topic" }, "Next"),
    ),
    heading(sign(k), h("span", null, `Topic ${data.topics[k].number}: `, inTheirLanguage(words(k, 3)))),
    h(
      "dl",
      { class: "facts" },
      fact("Share", `${(100 * topic.share).toFixed(1)}% of all pictures’ topics`),
      fact("Largest topic of", `${count(topic.largest, "picture")} of ${data.ids.length.toLocaleString("en")}`),
      reads.map((name) => fact(`Coherence, ${NAMES[name]}`, coherence(topic.coherence[name]))),
    ),
    h("h3", null, "Keywords"),
    h("p", { class: "help" }, !data.relevance && "First comes what tells the topic from the others. ", "Bars show a word’s probability in the topic.", reads.length > 1 && " Words that both models have are bold."),
    keywords(k, reads),
    h("h3", null, "Best pictures, with the topic’s share in each"),
    topic.best.length === 0 && h("p", null, "No picture has 1% of this topic."),
    h(
      "ol",
      { class: "gallery" },
      topic.best.map(([row, share]) =>
        h("li", null, h("a", { href: textAddress(row) }, thumbnail(row), h("span", { class: "number" }, percent(share)))),
      ),
    ),
    topic.largest > 0 &&
      h("p", null, "Pictures of which it is the largest topic: ", selectAll(mainTopic.flatMap((main, row) => (main === k ? [row] : [])))),
    data.tree && [
      h("h3", null, "Topics near to it"),
      h(
        "ol",
        { class: "topics near" },
        data.tree.near[k].map(([other, distance]) => h("li", null, topicLink(other, 4), h("span", { class: "number" }, apart(distance)))),
      ),
      h("p", { class: "help" }, "Cosine distance of the two, 0 for the same."),
    ],
  ];
}

// The words of a topic, and the slider that orders them.
function keywords(k, reads) {
  const lists = h("div", { class: "pair always" });

  function fill() {
    const shown = reads.map((name) => topicWords(name, k));
    const most = Math.max(...shown.flatMap((list) => list.map(([, weight]) => weight)));
    const everywhere = (word) => reads.length > 1 && shown.every((list) => list.some(([other]) => other === word));
    lists.replaceChildren(
      ...reads.map((name, i) =>
        h(
          "section",
          null,
          h("h4", null, NAMES[name]),
          h("ol", { class: "keywords" }, shown[i].map(([word, weight]) => keyword(word, weight, most, everywhere(word)))),
        ),
      ),
    );
  }

  fill();
  if (!data.relevance) return lists;
  const slider = h("input", { id: "lambda", type: "range", min: 0, max: 1, step: 0.05, value: lambda, autocomplete: "off" });
  const told = h("output", { for: "lambda" }, lambda.toFixed(2));
  slider.addEventListener("input", () => {
    lambda = Number(slider.value);
    told.textContent = lambda.toFixed(2);
    fill();
  });
  return [
    h("p", { class: "slider" }, h("label", { for: "lambda" }, "Relevance λ"), slider, told),
    h("p", { class: "help" }, "At 1, the topic’s most probable words come first; the nearer to 0, the more those that are rare in other topics."),
    lists,
  ];
}

const fact = (name, value) => h("div", null, h("dt", null, name), h("dd", null, value));
const minus = (text) => text.replace("-", "−");
const coherence = (value) => (value === null || value === undefined ? "not measured" : `NPMI ${minus(value.toFixed(2))}`);

const keyword = (word, weight, most, inBoth) =>
  h(
    "li",
    null,
    h(inBoth ? "strong" : "span", { lang: data.language, dir: "auto" }, meaning.wordsIn(word) ? h("a", { href: wordAddress(word) }, word) : word),
    h("span", { class: "number" }, bar(weight / most), `${(100 * weight).toPrecision(2)}%`),
  );

function textPanel(row) {
  const text = data.texts[row], match = data.matches[row];
  return [
    h("nav", { class: "bar", "aria-label": "Topics" }, closeLink(), neighbours(row)),
    heading(text ? "A picture and its text" : "A picture"),
    h(
      "figure",
      { class: "own" },
      original(row, thumbnail(row)),
      h(
        "figcaption",
        null,
        text && h("blockquote", { lang: data.language, dir: "auto" }, text),
        h("p", { class: "id" }, data.ids[row]),
        data.originals?.[row][0] && h("p", null, original(row, "Open the original file")),
        selectButton(row),
      ),
    ),
    review.any && reviewSection(review, row),
    h(
      "div",
      { class: "pair" },
      topicShares("Topics of the picture", data.pictureTopics[row]),
      data.textTopics && topicShares("Topics of the text", data.textTopics[row]),
    ),
    match && comparison(row, match),
  ];
}

// The picture's own file, where the page knows it.
const original = (row, content) => (data.originals?.[row][0] ? h("a", { href: data.originals[row][0], target: "_blank" }, content) : content);

function selectButton(row) {
  const button = h("button", { type: "button", "aria-pressed": String(selection.has(row)) }, "Select");
  button.addEventListener("click", () => {
    selection.toggle(row);
    button.setAttribute("aria-pressed", String(selection.has(row)));
  });
  return button;
}

function selectAll(rows) {
  const button = h("button", { type: "button" }, `Select ${rows.length === 1 ? "it" : `these ${rows.length.toLocaleString("en")}`}`);
  button.addEventListener("click", () => selection.add(rows));
  return button;
}

// The pictures before and after in the list, or in the selection where it is one of that.
function neighbours(row) {
  const rows = selection.has(row) ? selection.sorted() : list.rows, at = rows.indexOf(row);
  const link = (to, name) => to !== undefined && h("a", { href: textAddress(to) }, name);
  return [selection.has(row) && h("a", { href: SELECTED }, "Selection"), link(rows[at - 1], "Previous"), link(rows[at + 1], "Next")];
}

const SHOWN_SELECTED = 200;

function selectionPanel() {
  const rows = selection.sorted();
  const numbers = new Map();
  for (const row of rows) for (const word of new Set([...review.proposed(row), ...review.accepted(row)])) numbers.set(word, (numbers.get(word) ?? 0) + 1);
  const common = [...numbers].sort((a, b) => b[1] - a[1]).slice(0, 30);
  const having = (word) => rows.filter((row) => review.proposed(row).includes(word) || review.accepted(row).includes(word));
  return [
    h("nav", { class: "bar", "aria-label": "Topics" }, closeLink()),
    heading(rows.length ? `${count(rows.length, "picture")} selected` : "Nothing is selected"),
    rows.length === 0 &&
      h("p", null, "Draw around pictures with the lasso, or hold the shift key while you drag; or press the space bar in the list."),
    rows.length > 0 && review.any && [
      h("h3", null, "Their keywords, to review together"),
      h("p", { class: "help" }, "A decision is about all selected pictures that have the keyword."),
      h(
        "ul",
        { class: "review" },
        common.map(([word, number]) =>
          h(
            "li",
            null,
            inTheirLanguage(word),
            h("span", { class: "number" }, number.toLocaleString("en")),
            verdictButtons(review, word, () => having(word).map((row) => [row, word])),
          ),
        ),
      ),
      addForm(review, () => rows),
    ],
    rows.length > 0 && h("h3", null, "Pictures"),
    h("ol", { class: "gallery" }, rows.slice(0, SHOWN_SELECTED).map((row) => h("li", null, h("a", { href: textAddress(row) }, thumbnail(row))))),
    rows.length > SHOWN_SELECTED && h("p", null, `and ${(rows.length - SHOWN_SELECTED).toLocaleString("en")} more`),
  ];
}

const topicShares = (title, topics) =>
  h(
    "section",
    null,
    h("h3", null, title),
    h(
      "ol",
      { class: "topics" },
      topics.map(([k, share]) => h("li", null, topicLink(k, 2), h("span", { class: "number" }, bar(share / 1000), percent(share)))),
    ),
  );

function comparison(row, match) {
  const methods = Object.keys(METHODS).filter((name) => match[name]);
  return [
    h("h3", null, "Pictures found for this text"),
    h(
      "p",
      { class: "help" },
      "Under each picture: how similar its topics are to the text’s, 1 at most, and the topics that this comes from, ",
      "each with its part.",
      match.baseline ? " The baseline knows no topics; the same is said of its pictures, for comparison." : "",
    ),
    h(
      "div",
      { class: "pair always matches" },
      methods.map((name) =>
        h(
          "section",
          null,
          h("h4", null, METHODS[name]),
          h("p", null, `The text’s own picture has rank ${match[name].rank.toLocaleString("en")} of ${data.ids.length.toLocaleString("en")}.`),
          h("ol", null, match[name].found.map((found) => foundPicture(row, found))),
        ),
      ),
    ),
  ];
}

const foundPicture = (row, found) =>
  h(
    "li",
    { class: found.row === row ? "match own-picture" : "match" },
    h("a", { href: textAddress(found.row) }, thumbnail(found.row)),
    found.row === row && h("strong", null, "own picture"),
    h("span", { class: "similarity" }, `topics alike: ${minus(found.similarity.toFixed(2))}`),
    h("ul", { class: "why" }, found.why.map(([k, share]) => h("li", null, topicLink(k, 2), h("span", { class: "number" }, percent(share))))),
  );

const missingPanel = (what) => [
  heading("Not here"),
  h("p", null, `There is no ${what} on this page. `, h("a", { href: OVERVIEW }, "See all topics"), "."),
];
