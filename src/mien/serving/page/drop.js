// Images from a drop, a file choice, the clipboard or the camera, sent to the server as one message.
const MOST = 20;
const MOST_BYTES = 14_000_000;
const zone = element.querySelector(".mien-dropzone");
const input = element.querySelector("input[type=file]");
const camera = element.querySelector(".mien-camera");
const video = element.querySelector("video");
const says = element.querySelector(".mien-says");
const start = element.querySelector('[data-camera="start"]');
let stream = null;
let sent = null;

const say = (text) => {
  says.textContent = text;
};

const encoded = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });

const send = async (files) => {
  const bytes = files.reduce((sum, file) => sum + file.size, 0);
  if (!files.length) return say("It holds no image.");
  if (files.length > MOST) return say(`There are ${files.length} images; choose at most ${MOST} at once.`);
  if (bytes > MOST_BYTES) return say("These images are larger than 14 MB together; choose fewer at once.");
  if (files.some((file) => !file.size)) return say("One of these files is empty.");
  try {
    const images = [];
    for (const file of files) images.push({ name: file.name, data: await encoded(file) });
    sent = { images };
    trigger("submit", sent);
    say(files.length === 1 ? `Sent: ${files[0].name}` : `Sent: ${files.length} images`);
  } catch (error) {
    say(`The browser cannot read the image: ${error.message}`);
  }
  return undefined;
};

// Another model or option predicts the same images again, once a dragged slider has rested for a moment.
let timer = 0;
document.addEventListener("mien-settings", () => {
  clearTimeout(timer);
  timer = setTimeout(() => sent && element.isConnected && trigger("submit", sent), 250);
});

const pictured = (list) => [...list].filter((file) => file.type.startsWith("image/") || !file.type);

input.addEventListener("change", () => {
  send([...input.files]);
  input.value = "";
});

let depth = 0;
zone.addEventListener("dragenter", () => zone.classList.toggle("over", ++depth > 0));
zone.addEventListener("dragleave", () => zone.classList.toggle("over", --depth > 0));
zone.addEventListener("dragover", (event) => event.preventDefault());
zone.addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  zone.classList.remove("over");
  send(pictured(event.dataTransfer.files));
});

document.addEventListener("paste", (event) => {
  const files = pictured(event.clipboardData?.files ?? []);
  if (!files.length || !element.isConnected || !element.offsetParent) return;
  event.preventDefault();
  send(files);
});

const stop = () => {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  video.srcObject = null;
  camera.hidden = true;
  start.hidden = false;
  start.focus();
};

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera.",
  NotFoundError: "There is no camera.",
  NotReadableError: "Another program is using the camera.",
};

start.addEventListener("click", async () => {
  if (!navigator.mediaDevices) return say("Browsers allow the camera only on localhost and on https pages.");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" }, audio: false });
  } catch (error) {
    return say(REASONS[error.name] ?? `The camera does not start: ${error.message}`);
  }
  video.srcObject = stream;
  camera.hidden = false;
  start.hidden = true;
  say("The camera is on.");
  element.querySelector('[data-camera="take"]').focus();
  return undefined;
});

element.querySelector('[data-camera="take"]').addEventListener("click", () => {
  if (!video.videoWidth) return say("The camera is not ready yet.");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => send([new File([blob], "camera.png", { type: "image/png" })]), "image/png");
  return undefined;
});

element.querySelector('[data-camera="stop"]').addEventListener("click", () => {
  stop();
  say("The camera is off.");
});
