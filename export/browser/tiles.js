// An image of any size through a network of one size, tile by tile: the rule of keras_fsr/inference/tiles.py, in the
// same 32-bit arithmetic. A call that would be smaller is mirrored to the size, as LiteRTEngine does it.

const MULTIPLE = 4; // sides of a call are multiples of this

/**
 * Enlarges an image.
 *
 * image: { width, height, data }, 8-bit RGBA as in ImageData; its alpha is not looked at.
 * network: takes a Uint8Array (size, size, 3) and gives a Float32Array (size * scale, size * scale, 3), in levels of
 *   [0, 255]; may be asynchronous.
 * settings: { scale, size, overlap }, as build.py writes them.
 * afterTile: called, and waited for, with (tiles done, tiles in all); what it throws ends the work.
 *
 * Resolves to { width, height, data } like the image, opaque.
 */
export async function upscale(image, network, settings, afterTile = () => {}) {
  const { scale, size } = settings;
  const rows = spans(image.height, settings);
  const columns = spans(image.width, settings);
  const width = image.width * scale;
  const height = image.height * scale;
  // Storing into this array rounds half to even and clips.
  const output = { width, height, data: new Uint8ClampedArray(width * height * 4) };
  const part = new Uint8Array(size * size * 3);
  let done = 0;
  for (const row of rows) {
    let held = null;
    for (const column of columns) {
      cut(image, part, sources(image.height, row, size), sources(image.width, column, size));
      const result = isFlat(part) ? flat(part, (size * scale) ** 2) : await network(part);
      blend(output, result, held, row, column, settings);
      held = keep(result, row, column, settings);
      await afterTile(++done, rows.length * columns.length);
    }
  }
  return output;
}

/** How many calls of the network an image takes. */
export function countTiles(width, height, settings) {
  return spans(height, settings).length * spans(width, settings).length;
}

/**
 * The tiles along an axis of `side` pixels, as few as can be: the call covers [start, start + length), of which
 * [begin, end) is its own. Its first `fade` pixels are mixed with the tile before, which hands over `tail` more than it
 * owns for that.
 */
function spans(side, { size, overlap }) {
  const called = roundedUp(side);
  const count = called > size ? Math.ceil((called - overlap) / (size - overlap)) : 1;
  const length = roundedUp(Math.ceil((called + (count - 1) * overlap) / count));
  const starts = Array.from({ length: count }, (_, k) => Math.floor((k * (called - length)) / Math.max(count - 1, 1)));
  const fade = Math.floor(overlap / 2);
  const seams = starts.slice(1).map((start, k) => Math.floor((starts[k] + length + start - fade) / 2));
  return starts.map((start, k) => ({
    start,
    length,
    begin: k ? seams[k - 1] : 0,
    end: k < count - 1 ? seams[k] : side,
    fade: k ? fade : 0,
    tail: k < count - 1 ? fade : 0,
  }));
}

function roundedUp(side) {
  return Math.ceil(side / MULTIPLE) * MULTIPLE;
}

/** For each of the network's `size` pixels along an axis, the one of the image that is seen there. */
function sources(side, { start, length }, size) {
  return Int32Array.from({ length: size }, (_, k) => mirrored(start + mirrored(k, length), side));
}

/** Where a coordinate lies in [0, side) when that is mirrored about its edges, again and again. */
function mirrored(k, side) {
  const place = ((k % (2 * side)) + 2 * side) % (2 * side);
  return place < side ? place : 2 * side - 1 - place;
}

/** Copies what a call covers into `part`, without the alpha. */
function cut(image, part, ys, xs) {
  let to = 0;
  for (const y of ys) {
    for (const x of xs) {
      const from = (y * image.width + x) * 4;
      part[to++] = image.data[from];
      part[to++] = image.data[from + 1];
      part[to++] = image.data[from + 2];
    }
  }
}

/** Whether a part has one colour, which needs no network and is no network's to change. */
function isFlat(part) {
  return part.every((level, i) => level === part[i % 3]);
}

/** So many pixels of a part's one colour. */
function flat(part, pixels) {
  return Float32Array.from({ length: pixels * 3 }, (_, i) => part[i % 3]);
}

/** The columns that a tile leaves to the next one, which fades into them: as (rows, tail, 3); null for the last. */
function keep(result, row, column, { scale, size }) {
  if (column.tail === 0) return null;
  const [top, bottom] = [row.begin - row.start, row.end + row.tail - row.start].map((y) => y * scale);
  const [left, right] = [column.end - column.start, column.end + column.tail - column.start].map((x) => x * scale);
  const length = (right - left) * 3;
  const held = new Float32Array((bottom - top) * length);
  for (let y = top; y < bottom; y++) {
    const from = (y * size * scale + left) * 3;
    held.set(result.subarray(from, from + length), (y - top) * length);
  }
  return held;
}

/** Writes a tile's own pixels: faded into what its left neighbour held, then into the row of tiles already there. */
function blend(output, result, held, row, column, { scale, size }) {
  const height = (row.end + row.tail - row.begin) * scale;
  const width = (column.end - column.begin) * scale;
  const across = ramp(column.fade * scale);
  const down = ramp(row.fade * scale);
  for (let y = 0; y < height; y++) {
    let from = (((row.begin - row.start) * scale + y) * size * scale + (column.begin - column.start) * scale) * 3;
    let to = ((row.begin * scale + y) * output.width + column.begin * scale) * 4;
    for (let x = 0; x < width; x++, to++) {
      for (let channel = 0; channel < 3; channel++, from++, to++) {
        let level = result[from];
        if (x < across.length) level = mix(held[(y * across.length + x) * 3 + channel], level, across[x]);
        if (y < down.length) level = mix(output.data[to], level, down[y]);
        output.data[to] = level;
      }
      output.data[to] = 255;
    }
  }
}

/** Weights that rise evenly and never reach 0 or 1. */
function ramp(length) {
  return Float32Array.from({ length }, (_, k) => (k + 0.5) / length);
}

/** From old towards new by weight, each step rounded to 32 bits. */
function mix(old, level, weight) {
  return Math.fround(old + Math.fround(weight * Math.fround(level - old)));
}
