// The points of the map, written into its pixels by hand: a canvas without a graphics card takes 120 ms to fill 20,000
// shapes, this takes 10.

function createPoints(context) {
  const known = new Map(); // shape and radius -> mask
  let image = null, pixels = null, scale = 1;

  // The pixels that a shape covers around its middle: how far across and down each lies, its place in the image from there,
  // and how much of it is covered, up to 255.
  function mask(shape, radius) {
    const key = `${shape} ${radius}`;
    if (!known.has(key)) {
      const half = Math.ceil(1.2 * radius), side = 2 * half + 1;
      const small = h("canvas", { width: side, height: side }).getContext("2d", { willReadFrequently: true });
      small.translate(half + 0.5, half + 0.5);
      small.scale(radius, radius);
      small.fill(new Path2D(SHAPES[shape]));
      const covered = small.getImageData(0, 0, side, side).data.filter((_, i) => i % 4 === 3);
      const some = [...covered.keys()].filter((i) => covered[i] > 0);
      const dx = Int32Array.from(some, (i) => (i % side) - half), dy = Int32Array.from(some, (i) => Math.floor(i / side) - half);
      const part = Uint8Array.from(some, (i) => covered[i]), offset = dx.map((across, i) => dy[i] * image.width + across);
      known.set(key, { half, dx, dy, offset, part });
    }
    return known.get(key);
  }

  return {
    // Start anew, all in one colour. Colours are [red, green, blue].
    begin(width, height, pixelScale, [red, green, blue]) {
      scale = pixelScale;
      if (image?.width !== width || image.height !== height) {
        image = context.createImageData(width, height);
        pixels = new Uint32Array(image.data.buffer);
        known.clear();
      }
      pixels.fill((255 << 24) | (blue << 16) | (green << 8) | red);
    },

    // The masks of all shapes with a radius in CSS px. Half a pixel more or less is not seen; it keeps the masks few.
    masks: (radius) => SHAPES.map((_, shape) => mask(shape, Math.max(1, Math.round(2 * radius * scale) / 2))),

    // A mask around a place in CSS px; alpha 0 to 1.
    put(across, down, { half, dx, dy, offset, part }, colour, alpha) {
      const red = colour[0], green = colour[1], blue = colour[2], solid = (255 << 24) | (blue << 16) | (green << 8) | red;
      const width = image.width, height = image.height;
      const x = Math.round(across * scale), y = Math.round(down * scale), middle = y * width + x;
      const inside = x >= half && y >= half && x < width - half && y < height - half;
      for (let i = 0; i < offset.length; i++) {
        if (!inside && (x + dx[i] < 0 || x + dx[i] >= width || y + dy[i] < 0 || y + dy[i] >= height)) continue;
        const at = middle + offset[i], covered = alpha * part[i];
        if (covered === 255) {
          pixels[at] = solid;
          continue;
        }
        const under = pixels[at], rest = 255 - covered;
        pixels[at] =
          (255 << 24) |
          (((blue * covered + ((under >> 16) & 255) * rest) / 255) << 16) |
          (((green * covered + ((under >> 8) & 255) * rest) / 255) << 8) |
          ((red * covered + (under & 255) * rest) / 255);
      }
    },

    end: () => context.putImageData(image, 0, 0),
  };
}
