/** The page: a photo or the camera in, a bar for each class out. */

import { Model, cropFace, grab, readPicture } from "./mien.js";

const RUNTIME = "./node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs";
const WARM_UP = 3;
/** How many times the shown milliseconds are the median of. */
const RECENT = 25;
/** Milliseconds between two announcements to a screen reader while the camera runs. */
const SPEAK_EVERY = 2000;
/** Photos below this many pixels are enlarged without blur. */
const SMALL = 200;

const $ = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

let model;
let picture = null;
let centre = [0.5, 0.5];
let stream = null;
let times = [];
let spoken = -Infinity;
let [waiting, busy] = [null, false];

start();

async function start() {
  try {
    const ort = await loadRuntime();
    const file = new URLSearchParams(location.search).get("model") ?? "model.onnx";
    const bytes = await loadFile(file);
    model = await loadModel(bytes, ort, file);
    ready(bytes.length);
  } catch (error) {
    $("about").textContent = "The page could not start.";
    complain(error.message);
  }
}

async function loadRuntime() {
  try {
    const ort = await import(RUNTIME);
    ort.env.wasm.numThreads = 1;
    return ort;
  } catch {
    throw new Error("onnxruntime-web is not here. Run npm ci in this folder, then load the page again.");
  }
}

async function loadModel(bytes, ort, file) {
  try {
    const loaded = await Model.load(bytes, ort);
    for (let run = 0; run < WARM_UP; run++) await loaded.probabilities(new Uint8Array(loaded.card.side ** 2));
    return loaded;
  } catch (error) {
    throw new Error(`${file}: ${error.message}`);
  }
}

async function loadFile(name) {
  // Only the page's own folder: an address of elsewhere must not choose the model.
  if (!/^[\w.-]+\.onnx$/.test(name)) throw new Error(`"${name}" is no name of an .onnx file in this folder.`);
  const answer = await fetch(name).catch(() => null);
  const make = `Write one with: mien export best examples/browser/${name}`;
  if (!answer?.ok) throw new Error(`There is no ${name} to fetch from this folder. ${make}`);
  return new Uint8Array(await answer.arrayBuffer());
}

function ready(size) {
  const { name, labels } = model.card;
  $("about").textContent = `Model ${name}, ${(size / 1e6).toFixed(1)} MB, on ONNX Runtime Web (WebAssembly, one thread)`;
  $("bars").replaceChildren(...labels.map(bar));
  for (const id of ["file", "camera"]) $(id).disabled = false;
  document.documentElement.dataset.ready = "yes";
}

function bar(label) {
  const row = document.createElement("li");
  row.dataset.label = label;
  const [name, meter, figure] = ["span", "div", "span"].map((tag) => row.appendChild(document.createElement(tag)));
  name.textContent = label;
  meter.append(document.createElement("i"));
  for (const [key, value] of Object.entries({ role: "meter", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 1 })) {
    meter.setAttribute(key, value);
  }
  name.ariaHidden = figure.ariaHidden = "true";
  fill(row, 0);
  return row;
}

function fill(row, share) {
  const [, meter, figure] = row.children;
  meter.setAttribute("aria-valuenow", share);
  meter.setAttribute("aria-valuetext", percent(share));
  meter.firstChild.style.width = `${100 * share}%`;
  figure.textContent = percent(share);
}

/** Name the face that `take` gives; while one is being named, only the latest request waits. */
async function name(take) {
  waiting = take;
  if (busy) return;
  busy = true;
  $("answer").dataset.busy = "";
  try {
    while (waiting) {
      const face = waiting();
      waiting = null;
      const began = performance.now();
      const shares = await model.probabilities(face);
      times = [...times, performance.now() - began].slice(-RECENT);
      show(face, shares);
    }
  } catch (error) {
    complain(`The model does not run: ${error.message}`);
  } finally {
    busy = false;
    delete $("answer").dataset.busy;
  }
}

function show(face, shares) {
  const { labels, side } = model.card;
  const best = shares.indexOf(Math.max(...shares));
  [...$("bars").children].forEach((row, place) => {
    fill(row, shares[place]);
    row.classList.toggle("best", place === best);
  });
  $("emotion").textContent = labels[best];
  $("share").textContent = `${percent(shares[best])} sure`;
  const middle = times.toSorted((a, b) => a - b)[times.length >> 1];
  $("time").textContent = `${middle.toFixed(1)} ms a face${times.length > 1 ? ` (median of the last ${times.length})` : ""}`;
  draw(face, side);
  speak(`${labels[best]}, ${percent(shares[best])}`, labels[best]);
  $("answer").dataset.count = 1 + Number($("answer").dataset.count ?? 0);
}

function draw(face, side) {
  const image = new ImageData(side, side);
  face.forEach((gray, place) => image.data.set([gray, gray, gray, 255], 4 * place));
  $("seen").width = $("seen").height = side;
  $("seen").getContext("2d").putImageData(image, 0, 0);
}

function speak(text, label) {
  if (stream && (performance.now() - spoken < SPEAK_EVERY || $("spoken").textContent.startsWith(label))) return;
  spoken = performance.now();
  $("spoken").textContent = text;
}

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

async function openPhoto(blob) {
  if (!model || !blob) return;
  stopCamera();
  complain("");
  try {
    picture = await readPicture(blob);
  } catch {
    complain(`${blob.name ?? "That"} is no picture that this browser can read. Choose a PNG, JPEG or WebP file.`);
    return;
  }
  [$("photo").width, $("photo").height] = [picture.width, picture.height];
  $("photo").getContext("2d").putImageData(picture, 0, 0);
  $("zoom").value = 1;
  centre = [0.5, 0.5];
  $("photo").classList.toggle("tall", picture.height > picture.width);
  $("photo").classList.toggle("small", Math.max(picture.width, picture.height) < SMALL);
  stage("photo");
  namePhoto();
}

function stage(what) {
  for (const id of ["hint", "photo", "video"]) $(id).hidden = id !== what;
  $("tight").hidden = what !== "photo";
  if (what !== "photo") $("frame").hidden = true;
}

/** The frame in the photo's pixels: all of it, or a square about the centre. */
function frame() {
  const [width, height, zoom] = [picture.width, picture.height, Number($("zoom").value)];
  if (zoom === 1) return [0, 0, width, height];
  const side = Math.max(1, Math.round(Math.min(width, height) / zoom));
  // The centre keeps its fractions of a pixel, so that a slow drag over a small photo adds up.
  centre = [width, height].map((length, axis) => {
    const half = side / 2 / length;
    return Math.min(Math.max(centre[axis], half), 1 - half);
  });
  const [left, top] = [width, height].map((length, axis) => Math.round(length * centre[axis] - side / 2));
  return [left, top, side, side];
}

function namePhoto() {
  const box = frame();
  place(box);
  name(() => cropFace(picture, model.card.side, box));
}

/** Lay the frame over the photo as it is shown. */
function place(box) {
  const whole = box[2] === picture.width && box[3] === picture.height;
  $("frame").hidden = whole;
  $("zoomed").textContent = whole ? "whole photo" : `${box[2]} pixels`;
  const [photo, style] = [$("photo"), $("frame").style];
  const scale = photo.clientWidth / picture.width;
  style.left = `${photo.offsetLeft + box[0] * scale}px`;
  style.top = `${photo.offsetTop + box[1] * scale}px`;
  style.width = style.height = `${box[2] * scale}px`;
}

function moveFrame(across, down) {
  centre = [centre[0] + across, centre[1] + down];
  namePhoto();
}

async function startCamera() {
  complain("");
  $("camera").disabled = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    $("video").srcObject = stream;
    stage("video");
    await $("video").play();
  } catch (error) {
    stopCamera();
    complain(`The camera cannot be used (${error.name}). Allow it in the browser, over https or on localhost.`);
    return;
  } finally {
    $("camera").disabled = false;
  }
  stream.getVideoTracks()[0].addEventListener("ended", stopCamera);
  $("camera").textContent = "Stop the camera";
  nextFrame();
}

function nextFrame() {
  const video = $("video");
  if (!stream) return;
  if (!$("problem").hidden) {
    stopCamera();
    return;
  }
  const side = Math.min(video.videoWidth, video.videoHeight);
  const box = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2, side, side];
  const done = side ? name(() => cropFace(grab(video, box), model.card.side)) : Promise.resolve();
  done.then(() => requestAnimationFrame(nextFrame));
}

function stopCamera() {
  if (!stream) return;
  for (const track of stream.getTracks()) track.stop();
  stream = null;
  $("camera").textContent = "Use the camera";
  stage(picture ? "photo" : "hint");
  if (picture) namePhoto();
}

$("file").addEventListener("change", (event) => {
  openPhoto(event.target.files[0]);
  event.target.value = "";
});
$("camera").addEventListener("click", () => (stream ? stopCamera() : startCamera()));
$("zoom").addEventListener("input", namePhoto);
addEventListener("paste", (event) => openPhoto(event.clipboardData.files[0]));
addEventListener("resize", () => picture && !stream && place(frame()));
for (const kind of ["dragover", "dragleave", "drop"]) {
  addEventListener(kind, (event) => {
    event.preventDefault();
    $("stage").classList.toggle("over", kind === "dragover");
    if (kind === "drop") openPhoto(event.dataTransfer.files[0]);
  });
}
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
$("frame").addEventListener("keydown", (event) => {
  const way = ARROWS[event.key];
  if (!way) return;
  event.preventDefault();
  moveFrame(0.02 * way[0], 0.02 * way[1]);
});
$("frame").addEventListener("pointerdown", (event) => event.target.setPointerCapture(event.pointerId));
$("frame").addEventListener("pointermove", (event) => {
  if (!event.target.hasPointerCapture(event.pointerId)) return;
  moveFrame(event.movementX / $("photo").clientWidth, event.movementY / $("photo").clientHeight);
});
