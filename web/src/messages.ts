/** What the page and its worker tell each other. */

export type Task = 'detection' | 'segmentation' | 'classification';
export type Colour = [red: number, green: number, blue: number];

/** A row of `models.json`, as mmnv3/deploy/site.py writes it. */
export interface Model {
  name: string;
  precision: string;
  task: Task;
  /** Under the page's folder. */
  file: string;
  bytes: number;
  /** Beginning of the file's SHA-256: another file has another address. */
  version: string;
  classes: string[];
  palette: Colour[];
  input: string;
  /** Detections score more; null of other tasks. */
  score_threshold: number | null;
  /** Most detections of a picture; null of other tasks. */
  max_detections: number | null;
}

/** RGBA, row by row. Its pixels go to the worker and come back, and are not copied. */
export interface Picture {
  width: number;
  height: number;
  pixels: Uint8ClampedArray<ArrayBuffer>;
}

/** Boxes are x1 y1 x2 y2 in the picture's pixels, one after another. */
export interface Detections {
  task: 'detection';
  boxes: Float32Array;
  scores: Float32Array;
  labels: number[];
}

/** The class of every pixel, row by row. */
export interface Segmentation {
  task: 'segmentation';
  mask: Uint8Array;
}

/** The best first. */
export interface Classification {
  task: 'classification';
  scores: Float32Array;
  labels: number[];
}

export type Result = Detections | Segmentation | Classification;

export interface Backend {
  kind: 'wasm' | 'webgpu';
  threads: number;
}

export type Request =
  | { kind: 'load'; model: Model; backend: Backend; base: string }
  | { kind: 'run'; picture: Picture };

export type Reply =
  | { kind: 'progress'; loaded: number; total: number }
  | { kind: 'ready' }
  | {
      kind: 'found';
      result: Result;
      picture: Picture;
      pixels_ms: number;
      network_ms: number;
    }
  | { kind: 'failed'; message: string };

/** An error with a sentence for a person. */
export class UserError extends Error {}

/** What to tell of an error. */
export function tell(error: unknown): string {
  if (error instanceof UserError) return error.message;
  const text = error instanceof Error ? error.message : String(error);
  return `Something went wrong: ${text.split('\n')[0]}`;
}
