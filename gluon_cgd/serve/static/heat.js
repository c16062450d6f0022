// Draws a photo under a heatmap. The photo is grey and of little contrast, so that every colour is that of the map.

// Viridis, as in the figures of the command line: dark violet for little, yellow for much
const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129],
  [92, 200, 99], [170, 220, 50], [253, 231, 37]];

const SIDE = 720; // pixels of the longer side of a drawn picture

export function colour(part) {
  const place = Math.min(1, Math.max(0, part)) * (VIRIDIS.length - 1);
  const first = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[first].map((value, i) => value + (VIRIDIS[first + 1][i] - value) * (place - first));
}

export function range(...maps) {
  const values = maps.flat(2);
  return [Math.min(0, ...values), Math.max(1e-9, ...values)];
}

export function photo(canvas, image) {
  fit(canvas, image).drawImage(image, 0, 0, canvas.width, canvas.height);
}

export function heatmap(canvas, image, map, [low, high]) {
  const context = fit(canvas, image);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const { data } = pixels, { width, height } = canvas;
  const table = Array.from({ length: 256 }, (_, i) => colour(i / 255));
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      const value = between(map, (x + 0.5) / width, (y + 0.5) / height);
      const part = Math.min(255, Math.max(0, Math.round(255 * (value - low) / (high - low))));
      const grey = 0.3 * data[at] + 0.59 * data[at + 1] + 0.11 * data[at + 2];
      const even = 60 + 0.6 * grey; // dark photos stay readable, bright ones do not wash the colour out
      const cover = 0.3 + 0.6 * part / 255, over = table[part]; // where little is added, the photo is seen
      for (let i = 0; i < 3; i++) data[at + i] = even + (over[i] - even) * cover;
    }
  }
  context.putImageData(pixels, 0, 0);
}

export function scale(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = `rgb(${colour(x / (canvas.width - 1)).map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

// The value of a map at a place, 0 to 1, bilinear between the middles of its positions
function between(map, x, y) {
  const rows = map.length, columns = map[0].length;
  const clamp = (value, count) => Math.min(count - 1, Math.max(0, value));
  const u = clamp(x * columns - 0.5, columns), v = clamp(y * rows - 0.5, rows);
  const left = Math.floor(u), top = Math.floor(v);
  const right = Math.min(left + 1, columns - 1), bottom = Math.min(top + 1, rows - 1);
  const upper = map[top][left] + (map[top][right] - map[top][left]) * (u - left);
  const lower = map[bottom][left] + (map[bottom][right] - map[bottom][left]) * (u - left);
  return upper + (lower - upper) * (v - top);
}

function fit(canvas, image) {
  const factor = SIDE / Math.max(image.naturalWidth, image.naturalHeight);
  canvas.width = Math.max(1, Math.round(image.naturalWidth * factor));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * factor));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return context;
}
