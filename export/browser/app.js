// The page: takes a photo, shows how far the work is, compares and hands out the result. All that is done to pixels
// is done in worker.js.

const at = (id) => document.getElementById(id);
const [compare, split, scroller, download] = ["compare", "split", "scroller", "download"].map(at);
const SCALE = 4;
const PAGE = ["./", "style.css", "icon.svg", "app.js", "worker.js"]; // the worker tells what else is in use

let job = 0; // the latest; what the worker says of others is out of date
let began = 0; // when its first tile was done, in ms
let name = ""; // its file's, without the extension
let addresses = []; // of its pictures

const worker = new Worker("worker.js");
worker.onerror = () => say("The page's worker could not be started. Reload the page.");
worker.onmessage = ({ data }) => {
  if (data.ready) ready(data.ready);
  else if (data.broken) broken(data.broken);
  else if (data.job !== job) return;
  else if (data.result) finish(data.result);
  else if (data.refusal) refuse(data.refusal);
  else advance(data.tile, data.of);
};

at("starting").hidden = true;
show("start");

for (const button of document.querySelectorAll("[data-choose]")) button.onclick = () => at("file").click();
at("file").onchange = () => {
  take(at("file").files[0]);
  at("file").value = ""; // the same file may be chosen again
};
at("cancel").onclick = () => {
  worker.postMessage({ cancel: true });
  reset();
  tell("Cancelled.");
};
at("preview").onload = ({ target }) => {
  picture(target.naturalWidth * SCALE, target.naturalHeight * SCALE);
  target.hidden = false;
};
document.onpaste = ({ clipboardData }) => take(clipboardData.files[0]);
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
};
document.ondragleave = ({ relatedTarget }) => {
  if (relatedTarget === null) document.body.classList.remove("dragging");
};
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files[0]);
};

function take(file) {
  if (!file) return;
  forget();
  job += 1;
  name = file.name.replace(/\.[^.]*$/, "") || "photo";
  const address = addressOf(file);
  at("before").src = address;
  at("preview").hidden = true;
  at("preview").src = address;
  at("progress").removeAttribute("value");
  at("count").textContent = at("loading").hidden ? "Preparing" : "Loading the network";
  say("");
  show("busy");
  at("cancel").focus();
  tell("Enlarging the photo.");
  worker.postMessage({ job, file });
}

function advance(tile, of) {
  const now = performance.now();
  if (tile === 1) began = now;
  const left = ((now - began) / Math.max(tile - 1, 1)) * (of - tile);
  const remaining = left > 2000 ? `, about ${duration(Math.ceil(left / 1000))} left` : "";
  at("progress").max = of;
  at("progress").value = tile;
  at("count").textContent = tile === of ? "Writing the PNG" : `Tile ${tile} of ${of}${remaining}`;
}

async function finish({ blob, width, height, transparent, seconds }) {
  const current = job;
  const address = addressOf(blob);
  at("after").src = address;
  await Promise.allSettled([at("after").decode(), at("before").decode()]);
  if (current !== job) return;
  picture(width, height);
  const sizes = `${width / SCALE} × ${height / SCALE} became ${width} × ${height} pixels`;
  const white = transparent ? " What was transparent is white now." : "";
  at("facts").textContent = `${sizes} in ${duration(seconds)}. The PNG has ${bytes(blob.size)}.${white}`;
  download.href = address;
  download.download = `${name}_x${SCALE}.png`;
  place(50);
  show("done");
  actualSize(false);
  fit();
  split.focus({ preventScroll: true });
  tell(`Done. ${at("facts").textContent}`);
}

function refuse(reason) {
  reset();
  say(reason);
}

/** Back to the start, whatever was going on. */
function reset() {
  job += 1;
  forget();
  show("start");
  at("start").querySelector("button").focus();
}

function show(section) {
  for (const id of ["start", "busy", "done"]) at(id).hidden = id !== section;
}

/** Tells the style sheet the size of the result, in pixels. */
function picture(width, height) {
  document.body.style.setProperty("--width", width);
  document.body.style.setProperty("--height", height);
}

/** An alert, which is also read out; none for an empty text. */
function say(text) {
  at("alert").textContent = text;
  at("alert").hidden = !text;
}

/** For those who hear the page. */
function tell(text) {
  at("status").textContent = text;
}

function addressOf(blob) {
  addresses.push(URL.createObjectURL(blob));
  return addresses.at(-1);
}

function forget() {
  for (const id of ["preview", "before", "after"]) at(id).removeAttribute("src");
  for (const address of addresses) URL.revokeObjectURL(address);
  addresses = [];
}

// Before and after

function place(percent) {
  const limited = Math.min(Math.max(percent, 0), 100);
  split.value = limited;
  split.setAttribute("aria-valuetext", `${Math.round(limited)} % before`);
  compare.style.setProperty("--split", `${limited}%`);
}

function follow({ clientX }) {
  const { left, width } = compare.getBoundingClientRect();
  place(((clientX - left) / width) * 100);
}

split.oninput = () => place(split.valueAsNumber);
compare.onpointerdown = (event) => {
  // At its actual size the picture itself is for scrolling, where there is no mouse for that.
  const scrolls = compare.classList.contains("actual") && event.pointerType === "touch" && event.target.id !== "knob";
  if (event.button !== 0 || scrolls) return;
  event.preventDefault();
  compare.setPointerCapture(event.pointerId);
  split.focus({ preventScroll: true });
  follow(event);
};
compare.onpointermove = (event) => {
  if (compare.hasPointerCapture(event.pointerId)) follow(event);
};

/** Offers the actual size where the picture is shown smaller than that. */
function fit() {
  if (compare.classList.contains("actual")) return;
  at("zoom").hidden = compare.clientWidth >= at("after").naturalWidth;
}

function actualSize(on) {
  compare.classList.toggle("actual", on);
  at("zoom").setAttribute("aria-pressed", on);
  scroller.scrollLeft = (scroller.scrollWidth - scroller.clientWidth) / 2;
  scroller.scrollTop = (scroller.scrollHeight - scroller.clientHeight) / 2;
}

at("zoom").onclick = () => actualSize(!compare.classList.contains("actual"));
window.onresize = fit;

// Words

function duration(seconds) {
  if (seconds < 10 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)}\u00a0s`;
  return seconds < 90 ? `${Math.round(seconds)}\u00a0s` : `${Math.round(seconds / 60)}\u00a0min`;
}

function bytes(count) {
  return count < 1e6 ? `${Math.ceil(count / 1e3)}\u00a0kB` : `${(count / 1e6).toFixed(1)}\u00a0MB`;
}

// Start

function ready({ threads, files, about }) {
  at("loading").hidden = true;
  at("about").textContent = `${about}, ${threads} ${threads === 1 ? "thread" : "threads"}.`;
  keep(files);
}

function broken(reason) {
  reset();
  at("start").hidden = true;
  say(`The network cannot be loaded here (${reason}). Reload the page, or try a newer browser.`);
}

/** Keeps all that is in use for a time without a network; where that is not possible, the page works all the same. */
async function keep(files) {
  try {
    await navigator.serviceWorker.register("offline.js");
    await (await caches.open("keras-fsr")).addAll([...PAGE, ...files]);
  } catch {
    // No permission, no space or no network.
  }
}
