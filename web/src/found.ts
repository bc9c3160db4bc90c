/** What was found, as the page lists it and as files hold it. */

import type { Colour, Model, Result } from './messages';

export interface Settings {
  /** Detections score more. */
  threshold: number;
  /** Detections or classes at most. */
  limit: number;
  /** Of a mask over the picture, 0 to 1. */
  opacity: number;
}

/** A row of the list: a detection, a class, or the part of a picture that is one. */
export interface Row {
  label: number;
  name: string;
  colour: Colour;
  /** Score, or share of the picture's pixels. */
  value: number;
  /** x1 y1 x2 y2 in the picture's pixels. */
  box?: [number, number, number, number];
}

/** The rows that the settings leave, the best first. */
export function rowsOf(result: Result, model: Model, settings: Settings): Row[] {
  const row = (label: number, value: number) => ({
    label,
    name: model.classes[label] ?? `class ${label}`,
    colour: model.palette[label] ?? [128, 128, 128],
    value,
  });
  if (result.task === 'segmentation') {
    const counts = new Map<number, number>();
    for (const label of result.mask) counts.set(label, (counts.get(label) ?? 0) + 1);
    return [...counts]
      .sort((a, b) => b[1] - a[1])
      .map(([label, count]) => row(label, count / result.mask.length));
  }
  const rows: Row[] = result.labels.map((label, n) => row(label, result.scores[n]));
  if (result.task === 'classification') return rows.slice(0, settings.limit);
  return rows
    .map((found, n) => {
      const [x1, y1, x2, y2] = result.boxes.subarray(4 * n, 4 * n + 4);
      return { ...found, box: [x1, y1, x2, y2] as Row['box'] };
    })
    .filter(({ value }) => value > settings.threshold)
    .slice(0, settings.limit);
}

/** The rows in the form of `tools/predict.py --json`. */
export function asJson(rows: Row[], file: string, size: [number, number], model: Model) {
  const found = rows.map(({ name, value, box }) => ({
    class: name,
    [model.task === 'segmentation' ? 'share' : 'score']: round(value, 4),
    ...(box && { box: box.map((side) => round(side, 2)) }),
  }));
  return [{ file, size, found }];
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
