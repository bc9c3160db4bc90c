/** Draws what was found into a picture. */

import type { Row } from './found';
import type { Colour, Result } from './messages';

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
  picture: ImageBitmap,
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
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  if (result?.task === 'segmentation') {
    const mask = maskCanvas(result.mask, width, height, rows, opacity);
    context.imageSmoothingEnabled = false;
    context.drawImage(mask, 0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = true;
  }
  context.resetTransform();
  // The best are drawn last, over the others.
  for (const row of [...rows].reverse()) {
    if (row.box) drawBox(context, row, scale, mirrored ? canvas.width : undefined);
  }
}

const layer = document.createElement('canvas');

function maskCanvas(
  mask: Uint8Array,
  width: number,
  height: number,
  rows: Row[],
  opacity: number,
): HTMLCanvasElement {
  if (layer.width !== width || layer.height !== height) {
    layer.width = width;
    layer.height = height;
  }
  const context = layer.getContext('2d')!;
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const colours = new Uint32Array(256);
  for (const { label, colour } of rows) {
    const bytes = new Uint8ClampedArray([...colour, opacity * 255]);
    colours[label] = new Uint32Array(bytes.buffer)[0];
  }
  for (let at = 0; at < pixels.length; at++) pixels[at] = colours[mask[at]];
  context.putImageData(image, 0, 0);
  return layer;
}

function drawBox(
  context: CanvasRenderingContext2D,
  { box, name, value, colour }: Row,
  scale: number,
  mirror: number | undefined,
): void {
  const canvas = context.canvas;
  let [x1, y1, x2, y2] = box!.map((side) => side * scale);
  if (mirror !== undefined) [x1, x2] = [mirror - x2, mirror - x1];
  const letters = Math.max(14, Math.max(canvas.width, canvas.height) / 56);
  context.lineWidth = letters / 5;
  context.strokeStyle = css(colour);
  context.lineJoin = 'round';
  context.beginPath();
  context.roundRect(x1, y1, Math.max(1, x2 - x1), Math.max(1, y2 - y1), letters / 4);
  context.stroke();
  context.font = `600 ${letters}px system-ui, sans-serif`;
  const text = `${name} ${value.toFixed(2)}`;
  const wide = context.measureText(text).width + 0.8 * letters;
  const high = 1.5 * letters;
  // Above the box, and inside the picture.
  const left = Math.min(Math.max(0, x1 - context.lineWidth / 2), canvas.width - wide);
  const top = Math.max(0, y1 - high);
  context.fillStyle = css(colour);
  context.beginPath();
  context.roundRect(left, top, wide, high, letters / 4);
  context.fill();
  context.fillStyle = ink(colour);
  context.textBaseline = 'middle';
  context.fillText(text, left + 0.4 * letters, top + 0.54 * high);
}

/** A drawn picture with names and colours below, where boxes do not name them. */
export function withLegend(drawn: HTMLCanvasElement, rows: Row[]): HTMLCanvasElement {
  const named = rows.filter(({ box }) => !box);
  if (!named.length) return drawn;
  const letters = Math.max(14, Math.max(drawn.width, drawn.height) / 56);
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
