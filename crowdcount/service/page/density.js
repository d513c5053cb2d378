// The density as a layer over the image.

const STOPS = [[255, 237, 150], [254, 178, 76], [250, 102, 50], [215, 25, 60], [120, 0, 90]];
const LEAST_TOP = 0.05; // traces in an empty image do not look like a crowd

function colour(share) {
  const place = Math.min(share, 1) * (STOPS.length - 1), low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((value, channel) => value + (place - low) * (STOPS[low + 1][channel] - value));
}

/** Paint a density on a canvas of one pixel per block, and fit it over an image of this size; return the top of its scale. */
export function paintDensity(canvas, density, width, height) {
  const rows = density.values, columns = rows[0].length;
  const top = Math.max(LEAST_TOP, ...rows.map((row) => Math.max(...row)));
  canvas.width = columns;
  canvas.height = rows.length;
  const pixels = new ImageData(columns, rows.length);
  rows.flat().forEach((value, index) => {
    const share = value / top;
    pixels.data.set([...colour(share), 255 * Math.min(1, 4 * share)], 4 * index);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  canvas.style.width = `${(100 * columns * density.block_width) / width}%`;
  canvas.style.height = `${(100 * rows.length * density.block_height) / height}%`;
  return top;
}

/** Paint the colours of the scale on a canvas of one row. */
export function paintScale(canvas) {
  const pixels = new ImageData(canvas.width, 1);
  for (let x = 0; x < canvas.width; x++) pixels.data.set([...colour(x / (canvas.width - 1)), 255], 4 * x);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
