/**
 * A model that `mien export` wrote, in a browser: from pixels to calibrated probabilities.
 *
 * It follows mien's own steps. Labels and scaling come from the ONNX file's metadata,
 * which ONNX Runtime Web does not show; so they are read from the file itself.
 * Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (ModelProto.metadata_props, StringStringEntryProto).
 */

const METADATA = 14;
const [KEY, VALUE] = [1, 2];
/** The graph's output that holds the calibrated probabilities. */
const OUTPUT = "probabilities";
const SENSELESS = "its metadata make no sense; export the model again";
const CUT = "it is no ONNX file, or only a part of one";
/** The longest side of a picture in memory, in pixels. */
const LONGEST = 2560;

/** What a model's file says of it: name, labels, side (pixels), factor and offset. */
export function readCard(bytes) {
  const notes = readMetadata(bytes);
  const said = (key) => {
    if (!notes.has(key)) throw new Error(`it is no model that mien exported: its metadata lack "${key}"`);
    return parsed(notes.get(key));
  };
  const { side, factor, offset } = said("preprocessing") ?? {};
  const labels = said("labels");
  if (!(side > 0 && Number.isFinite(factor) && Number.isFinite(offset) && Array.isArray(labels))) {
    throw new Error(SENSELESS);
  }
  return { name: notes.get("name") ?? "model", labels, side, factor, offset };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(SENSELESS);
  }
}

/** The metadata of an ONNX file, given as Uint8Array, as a Map of strings. */
export function readMetadata(bytes) {
  const text = new TextDecoder();
  const found = new Map();
  for (const [number, entry] of fields(bytes)) {
    if (number !== METADATA) continue;
    const pair = new Map(fields(entry));
    found.set(text.decode(pair.get(KEY)), text.decode(pair.get(VALUE)));
  }
  return found;
}

/** The fields of a protobuf message that hold bytes, each with its number; the others are passed over. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    for (let value = 0, scale = 1; at < bytes.length; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new Error(CUT);
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const length = varint();
      if (at + length <= bytes.length) yield [Math.floor(tag / 8), bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error(CUT);
  }
  if (at > bytes.length) throw new Error(CUT);
}

/** A model ready to run. */
export class Model {
  /** @param bytes the ONNX file, Uint8Array. @param ort the module onnxruntime-web. */
  static async load(bytes, ort) {
    const card = readCard(bytes);
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    return new Model(card, session, ort.Tensor);
  }

  constructor(card, session, Tensor) {
    this.card = card;
    this.session = session;
    this.Tensor = Tensor;
    const [factor, offset] = [Math.fround(card.factor), Math.fround(card.offset)];
    this.scaled = Float32Array.from({ length: 256 }, (_, gray) => Math.fround(gray * factor) + offset);
  }

  /** The probabilities of each class, in the order of the labels, of a gray face: Uint8Array of side * side. */
  async probabilities(face) {
    const { labels, side } = this.card;
    const input = new this.Tensor("float32", Float32Array.from(face, (gray) => this.scaled[gray]), [1, 1, side, side]);
    const answer = await this.session.run({ faces: input }, [OUTPUT]);
    const shares = Array.from(answer[OUTPUT].data);
    if (shares.length !== labels.length) throw new Error("its graph gives other arrays than its metadata say");
    return shares;
  }
}

/** An encoded picture (a Blob) as ImageData: upright, over white, its longer side at most 2560 pixels. */
export async function readPicture(blob) {
  // The network learned from bytes as they stand in the file: no colour profile is applied.
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
  const picture = grab(bitmap, [0, 0, bitmap.width, bitmap.height], scale);
  bitmap.close();
  return picture;
}

/** The pixels of what a canvas can draw (a bitmap, a video), within a box [left, top, width, height], as ImageData. */
export function grab(source, [left, top, width, height], scale = 1) {
  const [across, down] = [width, height].map((length) => Math.max(1, Math.round(length * scale)));
  const canvas = new OffscreenCanvas(across, down);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, across, down);
  context.drawImage(source, left, top, width, height, 0, 0, across, down);
  return context.getImageData(0, 0, across, down);
}

/** The face that fills a picture, or a box [left, top, width, height] of it, as the network wants it: gray, side * side. */
export function cropFace(picture, side, [left, top, width, height] = [0, 0, picture.width, picture.height]) {
  const gray = new Uint8Array(width * height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let from = 4 * ((top + y) * picture.width + left); at < (y + 1) * width; from += 4) {
      gray[at++] = grayOf(picture.data[from], picture.data[from + 1], picture.data[from + 2]);
    }
  }
  return resize(gray, width, height, side);
}

/** Luma after ITU-R BT.601 in fixed point with 15 bits, as OpenCV rounds it; gray keeps its value. */
function grayOf(red, green, blue) {
  return (9798 * red + 19235 * green + 3735 * blue + 16384) >> 15;
}

/** Gray pixels, width * height, to side * side: averaged over areas where both sides shrink, else linear. */
export function resize(gray, width, height, side) {
  if (width === side && height === side) return gray;
  const shares = width >= side && height >= side ? areas : neighbours;
  const [across, down] = [shares(width, side), shares(height, side)];
  const face = new Uint8Array(side * side);
  const row = new Float64Array(width);
  down.forEach((rows, y) => {
    row.fill(0);
    for (const [from, share] of rows) for (let x = 0; x < width; x++) row[x] += share * gray[from * width + x];
    across.forEach((columns, x) => {
      face[y * side + x] = Math.round(columns.reduce((sum, [from, share]) => sum + share * row[from], 0));
    });
  });
  return face;
}

/** For each of `count` pixels, the [place, share] of the `length` pixels that lie under it. */
function areas(length, count) {
  const step = length / count;
  return Array.from({ length: count }, (_, place) => {
    const [start, end] = [place * step, Math.min((place + 1) * step, length)];
    const under = [];
    for (let from = Math.floor(start); from < end; from++) {
      under.push([from, (Math.min(from + 1, end) - Math.max(from, start)) / (end - start)]);
    }
    return under;
  });
}

/** For each of `count` pixels, the [place, share] of the two of `length` pixels whose centres lie about its own. */
function neighbours(length, count) {
  return Array.from({ length: count }, (_, place) => {
    const centre = Math.min(Math.max(((place + 0.5) * length) / count - 0.5, 0), length - 1);
    const first = Math.floor(centre);
    return [[first, 1 - (centre - first)], [Math.min(first + 1, length - 1), centre - first]];
  });
}
