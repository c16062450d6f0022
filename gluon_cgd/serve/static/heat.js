// Draws a photo under a heatmap, as the figures of the command line do: the photo is grey, dimmed and stretched, so that
// every colour is that of the map. What adds or takes most covers the photo, what adds nothing leaves it visible, and a
// white line encloses the positions that together make half of what is added.

const SIDE = 720; // pixels of the longer side of a drawn picture
const DARKEST = 20, BRIGHTEST = 165; // greys of the photo
const FAINT = 0.3, STRONG = 0.9; // how much the map hides of the photo
const COLOURS = {
  // viridis: what makes two pictures alike
  alike: [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
    [170, 220, 50], [253, 231, 37]],
  // inferno: what keeps them apart
  apart: [[0, 0, 4], [31, 12, 72], [85, 15, 109], [136, 34, 106], [186, 54, 85], [227, 89, 51], [249, 140, 10],
    [249, 201, 50], [252, 255, 164]],
};

function colour(kind, part) {
  const stops = COLOURS[kind], place = Math.min(1, Math.max(0, part)) * (stops.length - 1);
  const first = Math.min(Math.floor(place), stops.length - 2);
  return stops[first].map((value, i) => value + (stops[first + 1][i] - value) * (place - first));
}

export function range(...maps) {
  const values = maps.flat(2);
  return [Math.min(0, ...values), Math.max(1e-9, ...values)];
}

export function photo(canvas, image) {
  fit(canvas, image).drawImage(image, 0, 0, canvas.width, canvas.height);
}

export function heatmap(canvas, image, map, [low, high], kind) {
  const context = fit(canvas, image), { width, height } = canvas;
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height), { data } = pixels;
  const grey = greys(data), heat = fine(map, width, height), line = half(map), strongest = Math.max(high, -low);
  const table = Array.from({ length: 256 }, (_, i) => colour(kind, i / 255));
  const wide = Math.max(2, Math.round((1.5 * width) / (canvas.clientWidth || width))); // of the line
  const inside = (x, y) => heat[Math.min(y, height - 1) * width + Math.min(x, width - 1)] >= line;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      const here = inside(x, y);
      const border = line > 0 && (here !== inside(x + wide, y) || here !== inside(x, y + wide));
      const over = table[Math.round(255 * Math.min(1, Math.max(0, (heat[at] - low) / (high - low))))];
      const cover = FAINT + (STRONG - FAINT) * Math.min(1, Math.abs(heat[at]) / strongest);
      for (let i = 0; i < 3; i++) data[4 * at + i] = border ? 255 : grey[at] + (over[i] - grey[at]) * cover;
    }
  }
  context.putImageData(pixels, 0, 0);
}

export function scale(canvas, kind) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = `rgb(${colour(kind, x / (canvas.width - 1)).map(Math.round).join(" ")})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}

// The greys of a photo, stretched so that a hundredth of it is darkest and a hundredth brightest
function greys(data) {
  const grey = new Float32Array(data.length / 4);
  for (let at = 0; at < grey.length; at++) {
    grey[at] = 0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2];
  }
  const sorted = grey.slice().sort(), part = (share) => sorted[Math.round(share * (sorted.length - 1))];
  const dark = part(0.01), bright = Math.max(part(0.99), dark + 1);
  return grey.map((value) => DARKEST + (BRIGHTEST - DARKEST) * Math.min(1, Math.max(0, (value - dark) / (bright - dark))));
}

// The value above which the fewest positions make half of what is added, in the middle to the next lower one
function half(map) {
  const values = map.flat().filter((value) => value > 0).sort((one, other) => other - one);
  const whole = values.reduce((sum, value) => sum + value, 0);
  let sum = 0;
  const at = values.findIndex((value) => (sum += value) >= whole / 2);
  if (at < 0) return 0;
  return (values[at] + (values.find((value) => value < values[at]) ?? 0)) / 2;
}

// A map (rows of values) at every pixel, bilinear between the middles of its positions
function fine(map, width, height) {
  const rows = map.length, columns = map[0].length, heat = new Float32Array(width * height);
  const place = (at, size, count) => Math.min(count - 1, Math.max(0, ((at + 0.5) / size) * count - 0.5));
  for (let y = 0, at = 0; y < height; y++) {
    const v = place(y, height, rows), top = Math.floor(v), bottom = Math.min(top + 1, rows - 1);
    for (let x = 0; x < width; x++, at++) {
      const u = place(x, width, columns), left = Math.floor(u), right = Math.min(left + 1, columns - 1);
      const upper = map[top][left] + (map[top][right] - map[top][left]) * (u - left);
      const lower = map[bottom][left] + (map[bottom][right] - map[bottom][left]) * (u - left);
      heat[at] = upper + (lower - upper) * (v - top);
    }
  }
  return heat;
}

function fit(canvas, image) {
  const factor = SIDE / Math.max(image.naturalWidth, image.naturalHeight);
  canvas.width = Math.max(1, Math.round(image.naturalWidth * factor));
  canvas.height = Math.max(1, Math.round(image.naturalHeight * factor));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  return context;
}
