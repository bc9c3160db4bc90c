/** Draws what was found into a picture. */

import type { Row } from './found';
import type { Colour, Picture, Result } from './messages';

/** What the long side has at least, so that small pictures have room for names. */
const ROOM = 960;

export function css([red, green, blue]: Colour): string {
  return `rgb(${red} ${green} ${blue})`;
}

/** Black or white, whichever can be read on a colour. */
export function ink([red, green, blue]: Colour): string {
  return 0.3 * red + 0.59 * green + 0.11 * blue > 140 ? '#111' : '#fff';
}

/**
 * Draws a picture with boxes or a mask.
 *
 * @param mirrored Whether it is a mirror's, as of a camera at the front.
 */
export function draw(
  canvas: HTMLCanvasElement,
  picture: Picture,
  result: Result | undefined,
  rows: Row[],
  opacity: number,
  mirrored: boolean,
): void {
  const { width, height } = picture;
  const scale = Math.max(1, Math.round(ROOM / Math.max(width, height)));
  if (canvas.width !== width * scale || canvas.height !== height * scale) {
    canvas.width = width * scale;
    canvas.height = height * scale;
  }
  const context = canvas.getContext('2d', { alpha: false })!;
  const mirror = () => {
    if (mirrored) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  };
  mirror();
  context.imageSmoothingQuality = 'high';
  const image = pictureCanvas(picture);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  if (result?.task === 'segmentation') {
    const mask = maskCanvas(result.mask, width, height, rows, opacity);
    context.imageSmoothingEnabled = false;
    context.drawImage(mask, 0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = true;
  }
  context.resetTransform();
  drawBoxes(
    context,
    rows.flatMap((row) => {
      if (!row.box) return [];
      const [x1, y1, x2, y2] = row.box.map((side) => side * scale);
      const [left, right] = mirrored ? [canvas.width - x2, canvas.width - x1] : [x1, x2];
      return [{ ...row, box: [left, y1, right, y2] as const }];
    }),
  );
}

// What is drawn is drawn by way of these, which keep their memory.
const layers = {
  picture: document.createElement('canvas'),
  mask: document.createElement('canvas'),
};

function put(layer: HTMLCanvasElement, image: ImageData): HTMLCanvasElement {
  if (layer.width !== image.width || layer.height !== image.height) {
    layer.width = image.width;
    layer.height = image.height;
  }
  layer.getContext('2d', { willReadFrequently: true })!.putImageData(image, 0, 0);
  return layer;
}

function pictureCanvas({ pixels, width, height }: Picture): HTMLCanvasElement {
  return put(layers.picture, new ImageData(pixels, width, height));
}

function maskCanvas(
  mask: Uint8Array,
  width: number,
  height: number,
  rows: Row[],
  opacity: number,
): HTMLCanvasElement {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = new Uint32Array(256);
  for (const { label, colour } of rows) {
    const bytes = new Uint8ClampedArray([...colour, opacity * 255]);
    colours[label] = new Uint32Array(bytes.buffer)[0];
  }
  for (let at = 0; at < pixels.length; at++) pixels[at] = colours[mask[at]];
  return put(layers.mask, image);
}

type Box = readonly [x1: number, y1: number, x2: number, y2: number];

/** Draws boxes, which are in pixels of the canvas now, the best over the others. */
function drawBoxes(
  context: CanvasRenderingContext2D,
  rows: (Omit<Row, 'box'> & { box: Box })[],
): void {
  const letters = lettersOf(context.canvas);
  const line = letters / 5;
  context.font = `600 ${letters}px system-ui, sans-serif`;
  context.lineWidth = line;
  context.textBaseline = 'middle';
  const taken: Box[] = [];
  // The best take the best places for their names.
  const named = rows.map((row) => {
    const text = `${row.name} ${row.value.toFixed(2)}`;
    const place = labelPlace(
      row.box,
      context.measureText(text).width + 0.8 * letters,
      1.5 * letters,
      line / 2,
      context.canvas,
      taken,
    );
    taken.push(place);
    return { ...row, text, place };
  });
  named.reverse();
  for (const { box, colour } of named) {
    const [x1, y1, x2, y2] = box;
    context.strokeStyle = css(colour);
    context.beginPath();
    context.roundRect(x1, y1, Math.max(1, x2 - x1), Math.max(1, y2 - y1), letters / 4);
    context.stroke();
  }
  for (const { colour, text, place } of named) {
    const [left, top, right, bottom] = place;
    context.fillStyle = css(colour);
    context.beginPath();
    context.roundRect(left, top, right - left, bottom - top, letters / 4);
    context.fill();
    context.fillStyle = ink(colour);
    context.fillText(text, left + 0.4 * letters, top + 0.54 * (bottom - top));
  }
}

/** A place at a corner of a box, where it can be without other names in it. */
function labelPlace(
  [x1, y1, x2, y2]: Box,
  width: number,
  height: number,
  edge: number,
  canvas: HTMLCanvasElement,
  taken: Box[],
): Box {
  const places = [y1 - height, y1 - edge, y2 + edge - height, y2].flatMap((top) =>
    [x1 - edge, x2 + edge - width].map((left): Box => {
      const x = Math.min(Math.max(0, left), canvas.width - width);
      const y = Math.min(Math.max(0, top), canvas.height - height);
      return [x, y, x + width, y + height];
    }),
  );
  const isFree = (place: Box) => !taken.some((other) => overlap(place, other));
  return places.find(isFree) ?? places[0];
}

function overlap(a: Box, b: Box): boolean {
  return a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
}

/** Pixels of letters in a drawn picture. */
function lettersOf(canvas: HTMLCanvasElement): number {
  return Math.max(14, Math.max(canvas.width, canvas.height) / 56);
}

/** A drawn picture with names and colours below, where boxes do not name them. */
export function withLegend(drawn: HTMLCanvasElement, rows: Row[]): HTMLCanvasElement {
  const named = rows.filter(({ box }) => !box);
  if (!named.length) return drawn;
  const letters = lettersOf(drawn);
  const line = 1.8 * letters;
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d', { alpha: false })!;
  const font = `${letters}px system-ui, sans-serif`;
  context.font = font;
  const entries = named.map(({ name, value, colour }) => {
    const text = `${name} ${percent(value)}`;
    return { text, colour, wide: context.measureText(text).width + 3.2 * letters };
  });
  const longest = Math.max(...entries.map(({ wide }) => wide));
  const columns = Math.max(1, Math.floor(drawn.width / longest));
  canvas.width = drawn.width;
  canvas.height = drawn.height + Math.ceil(entries.length / columns) * line + letters;
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(drawn, 0, 0);
  context.font = font; // A canvas forgets it with its size.
  context.textBaseline = 'middle';
  entries.forEach(({ text, colour }, n) => {
    const x = (n % columns) * longest + letters;
    const y = drawn.height + (Math.floor(n / columns) + 0.5) * line + letters / 2;
    context.fillStyle = css(colour);
    context.fillRect(x, y - letters / 2, letters, letters);
    context.fillStyle = '#111';
    context.fillText(text, x + 1.5 * letters, y);
  });
  return canvas;
}

/** A mask as a picture whose grey levels are the classes. */
export function maskPicture(mask: Uint8Array, width: number): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = mask.length / width;
  const context = canvas.getContext('2d', { alpha: false })!;
  const image = context.createImageData(canvas.width, canvas.height);
  mask.forEach((label, at) => image.data.set([label, label, label, 255], 4 * at));
  context.putImageData(image, 0, 0);
  return canvas;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
