// What Python wrote (vtm.report.explorer.payload), and what follows from it.

const data = JSON.parse(document.getElementById("data").textContent);
const N_COLOURS = 10;
// Paths around 0, 0 of about the same area. Colour and shape together tell topics apart.
const SHAPES = [
  "M-.9 0A.9 .9 0 1 0 .9 0A.9 .9 0 1 0-.9 0Z",
  "M-.8-.8H.8V.8H-.8Z",
  "M0-1.05L1.05 .8H-1.05Z",
  "M0-1.15L1.15 0L0 1.15L-1.15 0Z",
  "M0 1.05L1.05-.8H-1.05Z",
  "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
];
const N_SHAPES = SHAPES.length;
SHAPES.push("M-1-.3H1V.3H-1Z"); // a dash, where there is no value

// Topics by their share, the largest first: these get the colours first, each with the first shape.
const topicOrder = data.topics.map((_, k) => k).sort((a, b) => data.topics[b].share - data.topics[a].share || a - b);
const topicPlace = [];
topicOrder.forEach((k, place) => (topicPlace[k] = place));
const mainTopic = data.pictureTopics.map((topics) => topics[0][0]);
// Half a surrogate pair, as file names of other systems may hold, cannot stand in an address.
const addressable = (id) => id.replace(/\p{Surrogate}/gu, "\ufffd");
const rowOfId = new Map(data.ids.map((id, row) => [addressable(id), row]));

const colourOf = (k) => topicPlace[k] % N_COLOURS;
const shapeOf = (k) => Math.floor(topicPlace[k] / N_COLOURS) % N_SHAPES;

function words(k, n) {
  if (data.topics[k].name) return data.topics[k].name;
  const topic = data.topics[k].words;
  return (topic.image ?? topic.text).slice(0, n).map(([word]) => word).join(", ");
}

function shorten(text, length) {
  const plain = text.replace(/\s+/gu, " ").trim();
  const letters = [...plain];
  return letters.length <= length ? plain : letters.slice(0, length - 1).join("").trimEnd() + "…";
}

// What a picture is called: its text, or its id where it has none.
const caption = (row, length = 90) => shorten(data.texts[row] || data.ids[row], length);
const percent = (thousandths) => `${Math.round(thousandths / 10)}%`;
const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

// Addresses within the page: #topic=12, #text=ID, and #topics for the overview.
const OVERVIEW = "#topics";
const topicAddress = (k) => `#topic=${data.topics[k].number}`;
const textAddress = (row) => `#text=${encodeURIComponent(addressable(data.ids[row]))}`;

// How pictures can be coloured: by their largest topic, or by a column of the table. `of` has for each picture the number
// of its class, `signs` for each class its colour, the name of one in the styles, and its shape. The last sign stands for
// no value. Neighbours in a legend differ in shape, so that no eye has to tell their colours apart; the colours come in an
// order in which also the next six differ from those of their shape, where one kind of cones is missing. Numbers and dates
// have one shape, and colours from dark to light.
const RAMP = 7;
const COLOUR_ORDER = [0, 2, 9, 7, 5, 6, 3, 4, 8, 1];
const colourings = [
  {
    name: "largest topic",
    of: mainTopic,
    signs: [...data.topics.map((_, k) => ({ colour: `topic-${colourOf(k)}`, shape: shapeOf(k) })), null],
  },
  ...data.columns.map(({ name, labels, of, ordered }) => ({
    name,
    labels: [...labels, "no value"],
    of: of.map((place) => (place < 0 ? labels.length : place)),
    signs: [
      ...labels.map((_, i) =>
        ordered
          ? { colour: `ramp-${labels.length < 2 ? 0 : Math.round((i * (RAMP - 1)) / (labels.length - 1))}`, shape: 0 }
          : { colour: `topic-${COLOUR_ORDER[i % N_COLOURS]}`, shape: (i + Math.floor(i / 30)) % N_SHAPES },
      ),
      { colour: "muted", shape: N_SHAPES },
    ],
  })),
];
