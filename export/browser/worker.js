// Decodes a photo, enlarges it in tiles and encodes the result, off the page's thread. A classic worker, because
// LiteRT.js loads its runtime by importScripts.
//
// In:  { job, file } starts a job, and ends one that is under way; { cancel: true } ends it.
// Out: { ready } once, with { threads, files, about }, or { broken: reason };
//      for a job { job, tile, of }, then { job, result } or { job, refusal: reason }.
// Of a job that was ended something may still come; the page ignores it.

"use strict";

const MOST_PIXELS = 64e6; // of the output
const LONGEST_SIDE = 16384; // pixels; some browsers' canvases end there
const RUNTIME = "runtime/wasm/";
const THREADS = Math.min(navigator.hardwareConcurrency || 1, 4); // a tile is too small for more

class Refusal extends Error {} // what the user is told as it stands
class Cancelled extends Error {}

let wanted = null; // the job under way
const prepared = prepare();

prepared.then(
  ({ settings, threads, files }) => postMessage({ ready: { threads, files, about: describe(settings) } }),
  (error) => postMessage({ broken: String(error?.message ?? error) }),
);

onmessage = async ({ data: { job, file, cancel } }) => {
  wanted = cancel ? null : job;
  if (cancel) return;
  try {
    postMessage({ job, result: await enlarge(job, file, await prepared) });
  } catch (error) {
    if (!(error instanceof Cancelled)) postMessage({ job, refusal: reason(error) });
  }
};

/** Loads the runtime and compiles the model. */
async function prepare() {
  const answer = await fetch("model.json");
  if (!answer.ok) throw new Error(`model.json: ${answer.status}`);
  const settings = await answer.json();
  const { loadLiteRt, loadAndCompile, supportsFeature, Tensor } = await import("./runtime/core.js");
  const simd = await supportsFeature("relaxedSimd");
  const threaded = self.crossOriginIsolated && simd && (await supportsFeature("threads"));
  const binary = `litert_wasm_${threaded ? "threaded_" : simd ? "" : "compat_"}internal`;
  self.Module = {
    // In a worker the runtime would look for its files beside this one.
    locateFile: (name) => new URL(RUNTIME + name, location.href).href,
    mainScriptUrlOrBlob: new URL(`${RUNTIME}${binary}.js`, location.href).href,
    printErr: (line) => console.debug(line), // its notes come as errors
  };
  await loadLiteRt(RUNTIME, { threads: threaded });
  const threads = threaded ? THREADS : 1;
  const model = await loadAndCompile("model.tflite", { accelerator: "wasm", cpuOptions: { numThreads: threads } });
  const files = ["model.json", "model.tflite", "tiles.js", "runtime/core.js", "runtime/wasm-utils.js"];
  files.push(`${RUNTIME}${binary}.js`, `${RUNTIME}${binary}.wasm`);
  const { upscale } = await import("./tiles.js");
  return { settings, threads, files, upscale, network: networkOf(model, Tensor, settings) };
}

/** The model as tiles.js wants it: 8-bit RGB to levels of [0, 255]. Steps are rounded to 32 bits, as in Python. */
function networkOf(model, Tensor, { size, scale, input, output }) {
  const given = numbersOfLevels(input);
  const meant = output.type === "uint8" ? levelsOfNumbers(output) : null;
  const values = new (input.type === "uint8" ? Uint8Array : Float32Array)(size * size * 3);
  const levels = new Float32Array(values.length * scale ** 2);
  return async (part) => {
    for (let i = 0; i < values.length; i++) values[i] = given[part[i]];
    const tensor = new Tensor(values, [1, size, size, 3]);
    const [answer] = await model.run([tensor]);
    const numbers = answer.toTypedArray();
    for (let i = 0; i < levels.length; i++) levels[i] = meant ? meant[numbers[i]] : numbers[i] * 255;
    tensor.delete();
    answer.delete();
    return levels;
  };
}

/** What the network is given for each of the 256 levels. */
function numbersOfLevels({ type, scale, zero }) {
  const shares = new Float32Array(256).map((_, level) => level / 255);
  if (type === "float32") return shares;
  const steps = Uint8ClampedArray.from(shares.map((share) => share / scale)); // rounds half to even, as NumPy does
  return steps.map((step) => step + zero);
}

/** The level that each of the network's 256 numbers stands for. */
function levelsOfNumbers({ scale, zero }) {
  return new Float32Array(256).map((_, number) => (number - zero) * scale).map((share) => share * 255);
}

async function enlarge(job, file, { settings, upscale, network }) {
  const began = performance.now();
  const { image, transparent } = await read(file, settings.scale);
  const output = await upscale(image, network, settings, async (tile, of) => {
    postMessage({ job, tile, of });
    await messages();
    if (wanted !== job) throw new Cancelled();
  });
  const { width, height } = output;
  const blob = await png(output);
  const seconds = (performance.now() - began) / 1000;
  return { blob, width, height, transparent, seconds };
}

/** The photo's pixels, upright, in sRGB, on white where it is transparent. */
async function read(file, scale) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Refusal(`${file.name || "This"} is not a picture that this browser can read. Try a JPEG, PNG or WebP.`);
  }
  const { width, height } = bitmap;
  check(width, height, scale);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  let image = context.getImageData(0, 0, width, height);
  const transparent = hasAlpha(image.data);
  if (transparent) {
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    image = context.getImageData(0, 0, width, height);
  }
  return { image, transparent };
}

function hasAlpha(data) {
  for (let i = 3; i < data.length; i += 4) if (data[i] < 255) return true;
  return false;
}

function check(width, height, scale) {
  const pixels = width * height * scale ** 2;
  if (pixels <= MOST_PIXELS && Math.max(width, height) * scale <= LONGEST_SIDE) return;
  const most = Math.floor(MOST_PIXELS / scale ** 2 / 1e6);
  throw new Refusal(
    `This photo has ${width} × ${height} pixels, which is too large: at most ${most} million, and ` +
      `${LONGEST_SIDE / scale} a side, can be enlarged here. Crop it to the face first.`,
  );
}

async function png({ data, width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(new ImageData(data, width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

function describe({ name, size, input }) {
  return `Network ${name}, ${input.type}, tiles of ${size} × ${size} pixels`;
}

/** Lets messages in, a cancel among them. */
function messages() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

function reason(error) {
  if (error instanceof Refusal) return error.message;
  if (error instanceof RangeError) return "This photo needs more memory than the browser gives. Crop it to the face first.";
  return `This photo cannot be enlarged: ${error?.message ?? error}`;
}
