// The points of the map, written into its pixels by hand: a canvas without a graphics card takes 120 ms to fill 20,000
// shapes, this takes 8.

function createPoints(context) {
  const masks = new Map(); // shape and radius -> how much of each pixel the shape covers, 0 to 255
  let image = null, pixels = null, scale = 1;

  // Half a pixel more or less is not seen; it keeps the masks few.
  function mask(shape, cssRadius) {
    const radius = Math.max(1, Math.round(2 * cssRadius * scale) / 2), key = `${shape} ${radius}`;
    if (!masks.has(key)) {
      const half = Math.ceil(1.2 * radius), side = 2 * half + 1;
      const small = h("canvas", { width: side, height: side }).getContext("2d", { willReadFrequently: true });
      small.translate(half + 0.5, half + 0.5);
      small.scale(radius, radius);
      small.fill(new Path2D(SHAPES[shape]));
      const covered = small.getImageData(0, 0, side, side).data.filter((_, i) => i % 4 === 3);
      masks.set(key, { half, side, covered });
    }
    return masks.get(key);
  }

  return {
    // Start anew, all in one colour. Colours are [red, green, blue].
    begin(width, height, pixelScale, [red, green, blue]) {
      scale = pixelScale;
      if (image?.width !== width || image.height !== height) image = context.createImageData(width, height);
      pixels = new Uint32Array(image.data.buffer);
      pixels.fill((255 << 24) | (blue << 16) | (green << 8) | red);
    },

    // The masks of all shapes with a radius in CSS px.
    masks: (radius) => SHAPES.map((_, shape) => mask(shape, radius)),

    // A mask around a place in CSS px; alpha 0 to 1.
    put(across, down, { half, side, covered }, [red, green, blue], alpha) {
      const left = Math.round(across * scale) - half, top = Math.round(down * scale) - half;
      const solid = (255 << 24) | (blue << 16) | (green << 8) | red;
      for (let y = Math.max(0, -top); y < side && top + y < image.height; y++) {
        for (let x = Math.max(0, -left); x < side && left + x < image.width; x++) {
          const part = alpha * covered[y * side + x];
          if (part === 0) continue;
          const at = (top + y) * image.width + left + x;
          if (part === 255) {
            pixels[at] = solid;
            continue;
          }
          const under = pixels[at], rest = 255 - part;
          pixels[at] =
            (255 << 24) |
            (((blue * part + ((under >> 16) & 255) * rest) / 255) << 16) |
            (((green * part + ((under >> 8) & 255) * rest) / 255) << 8) |
            ((red * part + (under & 255) * rest) / 255);
        }
      }
    },

    end: () => context.putImageData(image, 0, 0),
  };
}
