// Names of topics on the map. Each topic has a place on the whole map, and further ones for the parts of it that are
// seen when only these are in sight. A finer level halves the map's squares.

const DEEPEST_LEVEL = 5;

function createLabels(x, y) {
  const levels = []; // of each, places {k, n, x, y, top, ends}: where topic k has n pictures; made when they are first looked at

  const widths = new Map(); // text -> px, which take longer to measure than all else

  function widthOf(text, measure) {
    if (!widths.has(text)) widths.set(text, measure(text));
    return widths.get(text);
  }

  const labelOf = (k, nWords) => `${data.topics[k].number} ${shorten(words(k, nWords), 13 * nWords)}`;

  // Quantiles, which a stray picture does not move.
  const quantile = (values, part) => values.sort((a, b) => a - b)[Math.floor(part * values.length)];

  const least = (rows, values) => rows.reduce((found, row) => Math.min(found, values[row]), 1);
  const most = (rows, values) => rows.reduce((found, row) => Math.max(found, values[row]), 0);

  function places(level) {
    if (!levels[level]) {
      const squares = 2 ** level, rowsOf = new Map();
      for (let row = 0; row < mainTopic.length; row++) {
        const square = (value) => Math.min(squares - 1, Math.floor(value * squares));
        const key = (mainTopic[row] * squares + square(y[row])) * squares + square(x[row]);
        if (!rowsOf.has(key)) rowsOf.set(key, []);
        rowsOf.get(key).push(row);
      }
      levels[level] = [...rowsOf.values()]
        .map((rows) => ({
          k: mainTopic[rows[0]],
          n: rows.length,
          x: quantile(rows.map((row) => x[row]), 0.5),
          y: quantile(rows.map((row) => y[row]), 0.5),
          top: quantile(rows.map((row) => y[row]), 0.1),
          ends: [least(rows, x), least(rows, y), most(rows, x), most(rows, y)],
        }))
        .sort((a, b) => b.n - a.n || a.k - b.k);
    }
    return levels[level];
  }

  return {
    // Where a topic lies, or undefined where it is no picture's largest.
    centre: (k) => places(0).find((place) => place.k === k),

    // The labels {k, text, x, left, top, right, bottom} that have room beside what is `taken` ([left, top, right, bottom]
    // each); one for a topic. `topic` is the only one to be named, or null. Large topics come first, and the deeper the
    // zoom, the more words they have and the more of them there may be. They stand in the middle of the pictures, or
    // `above` them by so many px; beside them, where they would cover all of them.
    place({ zoom, width, height, toX, toY, taken, topic, above, measure }) {
      const found = [], boxes = [...taken], done = new Set();
      const limit = Math.round(((width * height) / 26000 + 2) * Math.min(2, zoom)); // thumbnails need room, too
      const nWords = zoom < 4 ? 2 : zoom < 10 ? 3 : 4;
      const texts = data.topics.map(() => null);
      const deepest = Math.min(DEEPEST_LEVEL, Math.ceil(Math.log2(zoom)) + 1);
      for (let level = 0; level <= (zoom > 1 ? deepest : 0); level++) {
        for (const place of places(level)) {
          if (found.length === limit) return found;
          if (done.has(place.k) || (topic !== null && place.k !== topic)) continue;
          const across = toX(place.x), down = toY(place.y);
          if (across < 0 || down < 0 || across > width || down > height) continue;
          const text = (texts[place.k] ??= labelOf(place.k, nWords));
          const half = widthOf(text, measure) / 2 + 3, wanted = above ? toY(place.top) - above : down;
          const at = Math.max(half + 2, Math.min(across, width - half - 2));
          let line = Math.max(10, Math.min(wanted, height - 10));
          const [firstX, firstY, lastX, lastY] = [toX(place.ends[0]), toY(place.ends[1]), toX(place.ends[2]), toY(place.ends[3])];
          if (firstX > at - half && lastX < at + half && Math.max(line - firstY, lastY - line) < 14) {
            const away = Math.max(above, 16);
            line = firstY - away >= 10 ? firstY - away : lastY + away;
          }
          const [left, top, right, bottom] = [at - half, line - 9, at + half, line + 9];
          if (boxes.some((box) => left < box[2] && right > box[0] && top < box[3] && bottom > box[1])) continue;
          boxes.push([left, top, right, bottom]);
          done.add(place.k);
          found.push({ k: place.k, text, x: at, left, top, right, bottom });
        }
      }
      return found;
    },
  };
}
