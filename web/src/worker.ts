/** Runs the model, away from the page, which so never freezes. */

import type { InferenceSession, Tensor } from 'onnxruntime-web';
import plainCode from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url';
import plainBinary from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';
import gpuCode from 'onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url';
import gpuBinary from 'onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url';
import { fetchFile } from './cache';
import {
  type Model,
  type Picture,
  type Reply,
  type Request,
  type Result,
  UserError,
  tell,
} from './messages';

type Runtime = typeof import('onnxruntime-web');

let ort: Runtime;
let session: InferenceSession;
let model: Model;

// The smallest module with an instruction of SIMD: (drop (v128.const 0)).
const SIMD = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 23, 1, 21, 0, 253, 12,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 26, 11,
];

onmessage = async ({ data }: MessageEvent<Request>) => {
  try {
    if (data.kind === 'load') {
      await load(data);
      reply({ kind: 'ready' });
    } else {
      await run(data.picture);
    }
  } catch (error) {
    reply({ kind: 'failed', message: tell(error) });
  }
};

function reply(message: Reply, transfer: Transferable[] = []): void {
  postMessage(message, { transfer });
}

async function load(request: Extract<Request, { kind: 'load' }>): Promise<void> {
  if (!WebAssembly.validate(new Uint8Array(SIMD))) {
    throw new UserError(
      "This browser's WebAssembly has no SIMD, which the model needs. Chrome from 91 " +
        'on, Firefox from 89 on and Safari from 16.4 on have it.',
    );
  }
  model = request.model;
  const { backend, base } = request;
  const onGpu = backend.kind === 'webgpu';
  const address = `${new URL(model.file, base).href}?v=${model.version}`;
  const binary = new URL(onGpu ? gpuBinary : plainBinary, import.meta.url).href;
  const parts = [0, 0];
  const totals = [0, model.bytes];
  const progress = (part: number) => (loaded: number, total: number) => {
    parts[part] = loaded;
    totals[part] = total;
    if (totals[0]) {
      reply({ kind: 'progress', loaded: parts[0] + parts[1], total: totals[0] + totals[1] });
    }
  };
  const [runtime, wasm, network] = await Promise.all([
    onGpu ? import('onnxruntime-web/webgpu') : import('onnxruntime-web/wasm'),
    fetchFile(binary, base, progress(0)),
    fetchFile(address, base, progress(1), model.bytes),
  ]);
  ort = runtime as Runtime;
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.wasm.wasmPaths = {
    mjs: new URL(onGpu ? gpuCode : plainCode, import.meta.url).href,
    wasm: binary,
  };
  ort.env.wasm.numThreads = backend.threads;
  ort.env.logLevel = 'error';
  try {
    session = await ort.InferenceSession.create(network, {
      executionProviders: [backend.kind],
      graphOptimizationLevel: 'all',
      // Which operators run where is nothing that a person can mend.
      logSeverityLevel: 3,
    });
  } catch (error) {
    throw new UserError(`${model.file} cannot be loaded (${tell(error)})`);
  }
}

let rgb = new Uint8Array(0);

/** What the model takes, (height, width, 3). */
function prepare({ width, height, pixels }: Picture): Tensor {
  if (rgb.length !== width * height * 3) rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = pixels[from];
    rgb[to + 1] = pixels[from + 1];
    rgb[to + 2] = pixels[from + 2];
  }
  return new ort.Tensor('uint8', rgb, [height, width, 3]);
}

async function run(picture: Picture): Promise<void> {
  const begin = performance.now();
  const input = prepare(picture);
  const prepared = performance.now();
  const outputs = await session.run({ [model.input]: input });
  const done = performance.now();
  const result = read(outputs);
  for (const output of Object.values(outputs)) output.dispose();
  const found: Reply = {
    kind: 'found',
    result,
    picture,
    pixels_ms: prepared - begin,
    network_ms: done - prepared,
  };
  reply(found, [picture.pixels.buffer]);
}

/** Copies what was found out of the runtime's memory. */
function read(outputs: InferenceSession.OnnxValueMapType): Result {
  if (model.task === 'segmentation') {
    const values = outputs.mask.data as Int32Array;
    if (values[0] < 0) {
      throw new UserError('The network gives no numbers: its training failed.');
    }
    return { task: 'segmentation', mask: Uint8Array.from(values, Number) };
  }
  const scores = Float32Array.from(outputs.scores.data as Float32Array);
  const labels = Array.from(outputs.labels.data as BigInt64Array, Number);
  if (model.task === 'classification') return { task: 'classification', scores, labels };
  const boxes = outputs.boxes.data as Float32Array;
  const least = model.score_threshold ?? 0;
  const kept = labels.flatMap((_, n) => (scores[n] > least ? [n] : []));
  return {
    task: 'detection',
    boxes: Float32Array.from(kept.flatMap((n) => [...boxes.subarray(4 * n, 4 * n + 4)])),
    scores: Float32Array.from(kept, (n) => scores[n]),
    labels: kept.map((n) => labels[n]),
  };
}
