/** The page: wires pictures, the model and what is shown. */

import './style.css';
import { forgetModels } from './cache';
import { Client, type Found } from './client';
import { draw, maskPicture, withLegend } from './drawing';
import { type Row, type Settings, asJson, rowsOf } from './found';
import { type Manifest, readManifest, sampleAddress } from './manifest';
import {
  type Backend,
  type Model,
  type Picture,
  type Result,
  UserError,
  tell,
} from './messages';
import {
  element,
  showMessage,
  showProgress,
  showRows,
  showSliders,
  showTimes,
} from './panel';
import { Live, decode, fetchSample, firstFile } from './sources';
import serviceWorker from './service-worker?worker&url';
import { Times } from './times';

// More threads than this wait for a phone's small cores.
const MOST_THREADS = 4;
// What the button Measure takes the median of.
const MEASURED = 50;

/** A still picture, as long as it is the one to look into. */
interface Still {
  name: string;
  picture: Picture;
}

interface Shown {
  picture: Picture;
  name: string;
  result?: Result;
  mirrored: boolean;
}

const base = new URL('./', location.href).href;
const canvas = element<HTMLCanvasElement>('canvas');
const times = new Times();
let manifest: Manifest;
let model: Model;
let backends: Map<string, Backend>;
let client: Promise<Client>;
let loading = new AbortController();
let source: Still | Live | undefined;
let shown: Shown | undefined;
let facing: 'environment' | 'user' = 'environment';

// --- what is shown -------------------------------------------------------------------

function settings(): Settings {
  const value = (id: string) => Number(element<HTMLInputElement>(id).value);
  return {
    threshold: value('threshold'),
    limit: value('limit'),
    opacity: value('opacity'),
  };
}

function shownRows(): Row[] {
  return shown?.result ? rowsOf(shown.result, model, settings()) : [];
}

/** Draws the picture that is shown, and lists what was found in it. */
function redraw(): void {
  const { threshold, limit, opacity } = settings();
  element('threshold-value').textContent = threshold.toFixed(2);
  element('limit-value').textContent = String(limit);
  element('opacity-value').textContent = `${Math.round(100 * opacity)} %`;
  if (!shown) return;
  canvas.hidden = false;
  element('empty').hidden = true;
  const rows = shownRows();
  draw(canvas, shown.picture, shown.result, rows, opacity, shown.mirrored);
  if (shown.result) showRows(rows, model.task);
  const words = rows.map(({ name, value }) => `${name} ${value.toFixed(2)}`).join(', ');
  const seen = shown.result ? words || 'nothing found' : 'not looked into yet';
  canvas.setAttribute('aria-label', `${shown.name}: ${seen}`);
  for (const id of ['save-picture', 'save-json', 'save-mask', 'measure']) {
    const still = id !== 'measure' || !(source instanceof Live);
    element<HTMLButtonElement>(id).disabled = !shown.result || !still;
  }
}

function show(next: Shown): void {
  shown = next;
  redraw();
}

function showFound(found: Found, name: string, mirrored = false): void {
  const begin = performance.now();
  show({ picture: found.picture, result: found.result, name, mirrored });
  times.add({
    Pixels: found.pixels_ms,
    Network: found.network_ms,
    Drawing: performance.now() - begin,
  });
  showTimes(times);
}

function fail(error: unknown): void {
  console.error(error);
  showMessage(tell(error));
}

// --- pictures ------------------------------------------------------------------------

/** Takes another source, and leaves the one before. */
function take(next: Still | Live | undefined): void {
  if (source instanceof Live && source !== next) source.close();
  source = next;
  times.clear();
  const live = next instanceof Live;
  const camera = live && next.name === 'camera';
  element('camera').setAttribute('aria-pressed', String(camera));
  element('flip').hidden = !camera;
  element('pause').hidden = !live;
  element('pause').setAttribute('aria-pressed', 'false');
  for (const button of element('samples').children) {
    button.setAttribute('aria-pressed', 'false');
  }
}

/** What can be sent to the worker while the picture itself is shown. */
function copyOf({ width, height, pixels }: Picture): Picture {
  return { width, height, pixels: pixels.slice() };
}

/** Looks into a still picture. */
async function lookInto(still: Still): Promise<void> {
  showMessage(null);
  const asked = client;
  try {
    const found = await (await asked).run(copyOf(still.picture));
    if (source === still && asked === client) showFound(found, still.name);
  } catch (error) {
    // Of a model that was exchanged meanwhile the next one tells.
    if (asked !== client) return;
    if (source === still) {
      show({ picture: still.picture, name: still.name, mirrored: false });
    }
    throw error;
  }
}

/** Looks into one frame after another, until there is another source or a pause. */
async function follow(live: Live): Promise<void> {
  let last: number | undefined;
  let old: Picture | undefined;
  while (source === live && !live.paused) {
    const asked = client;
    try {
      const loaded = await asked;
      const found = await loaded.run(await live.frame(old));
      if (source !== live) return;
      // While the next one is looked into this one is shown, and the one before not.
      old = shown?.name === live.name ? shown.picture : undefined;
      const now = performance.now();
      if (last !== undefined) times.add({ Frame: now - last });
      last = now;
      showFound(found, live.name, live.mirrored);
    } catch (error) {
      if (asked === client) throw error;
      last = undefined;
      old = undefined;
    }
  }
}

async function openFile(file: File): Promise<void> {
  if (file.type.startsWith('video/')) {
    const live = await Live.file(file, file.name);
    take(live);
    await follow(live);
    return;
  }
  // Before the old picture is left: what cannot be read changes nothing.
  const still = { name: file.name, picture: await decode(file, file.name) };
  take(still);
  await lookInto(still);
}

async function openSample(index: number): Promise<void> {
  const sample = manifest.samples[index];
  if (!sample) return;
  const name = sample.file.split('/').pop()!;
  const picture = await decode(await fetchSample(sampleUrl(index)), name);
  const still = { name, picture };
  take(still);
  element('samples').children[index].setAttribute('aria-pressed', 'true');
  await lookInto(still);
}

function sampleUrl(index: number): string {
  return base + sampleAddress(manifest.samples[index]);
}

async function toggleCamera(): Promise<void> {
  if (source instanceof Live && source.name === 'camera') {
    take(undefined);
    return;
  }
  await openCamera();
}

async function openCamera(): Promise<void> {
  const live = await Live.camera(facing);
  showMessage(null);
  take(live);
  await follow(live);
}

async function flip(): Promise<void> {
  facing = facing === 'environment' ? 'user' : 'environment';
  // Many phones open one camera at a time.
  take(undefined);
  await openCamera();
}

async function pause(): Promise<void> {
  if (!(source instanceof Live)) return;
  await source.toggle();
  element('pause').setAttribute('aria-pressed', String(source.paused));
  if (!source.paused) await follow(source);
}

/** Looks into a picture many times. */
async function measure(): Promise<void> {
  const still = source;
  if (!still || still instanceof Live || !shown) return;
  const button = element<HTMLButtonElement>('measure');
  const asked = client;
  const loaded = await asked;
  times.clear();
  for (let count = 0; count < MEASURED; count++) {
    const found = await loaded.run(copyOf(still.picture)).catch((error) => {
      if (asked === client) throw error;
    });
    if (!found || source !== still || asked !== client) return;
    showFound(found, still.name);
    button.disabled = true;
  }
  redraw();
}

// --- the model -----------------------------------------------------------------------

/** Loads a model, and looks into the picture again. */
async function load(): Promise<void> {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const select = element<HTMLSelectElement>('backend');
  const backend = backends.get(select.value)!;
  // What another model found is not this one's.
  if (shown) shown.result = undefined;
  element('rows').replaceChildren();
  element('count').textContent = '';
  redraw();
  times.clear();
  showTimes(times);
  showMessage(null);
  showProgress(0);
  document.body.dataset.model = 'loading';
  element('subtitle').textContent = `${model.name} · ${model.precision}`;
  const progress = (loaded: number, total: number) => {
    if (!signal.aborted) showProgress(loaded, total);
  };
  client = Client.load(model, backend, base, progress, signal);
  const asked = client;
  try {
    await asked;
  } catch (error) {
    if (asked !== client) return;
    document.body.dataset.model = 'failed';
    throw error;
  } finally {
    if (asked === client) showProgress(null);
  }
  if (asked !== client) return;
  document.body.dataset.model = 'ready';
  if (!source) await openSample(0);
  else if (!(source instanceof Live)) await lookInto(source);
}

async function choose(next: Model): Promise<void> {
  const other = !model || model.task !== next.task;
  model = next;
  if (other) showSliders(model);
  fillSelects();
  await load();
}

function fillSelects(): void {
  const { models } = manifest;
  const names = [...new Set(models.map(({ name }) => name))];
  const precisions = models
    .filter(({ name }) => name === model.name)
    .map(({ precision }) => precision);
  fill('model', names, model.name);
  fill('precision', precisions, model.precision);
  element('model-row').hidden = names.length < 2;
  element('precision-row').hidden = precisions.length < 2;
}

function fill(id: string, values: string[], chosen: string): void {
  const options = values.map((value) => new Option(value, value, false, value === chosen));
  element(id).replaceChildren(...options);
}

function chooseByName(): void {
  const name = element<HTMLSelectElement>('model').value;
  const same = manifest.models.filter((each) => each.name === name);
  const precision = element<HTMLSelectElement>('precision').value;
  run(() => choose(same.find((each) => each.precision === precision) ?? same[0]));
}

/** What this browser can compute on, the first by default. */
async function findBackends(): Promise<Map<string, Backend>> {
  const threads = crossOriginIsolated
    ? Math.min(MOST_THREADS, navigator.hardwareConcurrency)
    : 1;
  const counts = threads > 1 ? [threads, 1] : [1];
  const found = new Map<string, Backend>(
    counts.map((count) => [
      `WebAssembly, ${count} thread${count > 1 ? 's' : ''}`,
      { kind: 'wasm', threads: count },
    ]),
  );
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
  const adapter = await gpu?.requestAdapter().catch(() => null);
  if (adapter) found.set('WebGPU', { kind: 'webgpu', threads });
  element('backend-note').textContent = crossOriginIsolated
    ? ''
    : 'One thread: the server does not send the headers that threads need ' +
      '(cross-origin isolation).';
  return found;
}

// --- files to save -------------------------------------------------------------------

function save(blob: Blob | null, ending: string): void {
  if (!blob || !shown) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `${shown.name.replace(/\.[^.]*$/, '')}_${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function savePicture(): void {
  if (!shown?.result) return;
  withLegend(canvas, shownRows()).toBlob((blob) => save(blob, 'found.png'));
}

function saveJson(): void {
  if (!shown?.result) return;
  const { name, picture } = shown;
  const rows = asJson(shownRows(), name, [picture.width, picture.height], model);
  const text = JSON.stringify(rows, undefined, 1);
  save(new Blob([text], { type: 'application/json' }), 'found.json');
}

function saveMask(): void {
  if (shown?.result?.task !== 'segmentation') return;
  const mask = maskPicture(shown.result.mask, shown.picture.width);
  mask.toBlob((blob) => save(blob, 'mask.png'));
}

// --- hands ---------------------------------------------------------------------------

/** Does what may fail, and tells so. */
function run(action: () => unknown): void {
  Promise.resolve().then(action).catch(fail);
}

function onClick(id: string, action: () => unknown): void {
  element(id).addEventListener('click', () => run(action));
}

const KEYS: Record<string, string> = {
  o: 'open',
  c: 'camera',
  f: 'flip',
  ' ': 'pause',
  m: 'measure',
  s: 'save-picture',
  j: 'save-json',
};

function onKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  const typing = target.closest('select') || (event.key === ' ' && target.closest('button'));
  if (event.ctrlKey || event.metaKey || event.altKey || typing) return;
  const button = element<HTMLButtonElement>(KEYS[event.key.toLowerCase()] ?? '');
  if (button && !button.hidden) {
    event.preventDefault();
    button.click();
  } else if (/^[1-9]$/.test(event.key)) {
    run(() => openSample(Number(event.key) - 1));
  }
}

function listen(): void {
  const file = element<HTMLInputElement>('file');
  onClick('open', () => file.click());
  file.addEventListener('change', () => {
    const chosen = file.files?.[0];
    file.value = ''; // So that the same file can be opened again.
    if (chosen) run(() => openFile(chosen));
  });
  onClick('camera', toggleCamera);
  onClick('flip', flip);
  onClick('pause', pause);
  onClick('measure', measure);
  onClick('dismiss', () => showMessage(null));
  onClick('save-picture', savePicture);
  onClick('save-json', saveJson);
  onClick('save-mask', saveMask);
  for (const id of ['threshold', 'limit', 'opacity']) {
    element(id).addEventListener('input', redraw);
  }
  element('model').addEventListener('change', chooseByName);
  element('precision').addEventListener('change', chooseByName);
  element('backend').addEventListener('change', () => run(load));
  document.addEventListener('keydown', onKey);
  document.addEventListener('paste', (event) => {
    const pasted = firstFile(event.clipboardData);
    if (pasted) run(() => openFile(pasted));
  });
  let over = 0; // Each element on the way is entered and left.
  const hint = (entered: number) => {
    over = Math.max(0, over + entered);
    element('drop-hint').hidden = !over;
  };
  document.addEventListener('dragenter', () => hint(1));
  document.addEventListener('dragleave', () => hint(-1));
  document.addEventListener('dragover', (event) => event.preventDefault());
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    hint(-over);
    const dropped = firstFile(event.dataTransfer);
    if (dropped) run(() => openFile(dropped));
  });
}

function showSamples(): void {
  const buttons = manifest.samples.map((_, index) => {
    const button = document.createElement('button');
    const image = document.createElement('img');
    button.type = 'button';
    button.title = `Sample ${index + 1} (${index + 1})`;
    image.alt = `Sample ${index + 1}`;
    image.src = sampleUrl(index);
    button.append(image);
    button.addEventListener('click', () => run(() => openSample(index)));
    return button;
  });
  element('samples').replaceChildren(...buttons);
}

/** Lets the page work without a network; not on http, where browsers have no way. */
async function keepOffline(): Promise<void> {
  const wanted = manifest.models.map(
    ({ file, version }) => `${new URL(file, base).href}?v=${version}`,
  );
  await forgetModels(base, wanted);
  try {
    await navigator.serviceWorker?.register(serviceWorker);
    if (navigator.serviceWorker) {
      await navigator.serviceWorker.ready;
      element('offline').textContent = 'Works offline now.';
    }
  } catch {
    return; // A private window, or a certificate that was not signed: online only.
  }
}

async function start(): Promise<void> {
  listen();
  redraw();
  if (!globalThis.WebAssembly || !globalThis.createImageBitmap) {
    throw new UserError(
      'This browser is too old for this page. Chrome from 91 on, Firefox from 114 on ' +
        'and Safari from 16.4 on run it.',
    );
  }
  manifest = await readManifest(base);
  showSamples();
  backends = await findBackends();
  fill('backend', [...backends.keys()], [...backends.keys()][0]);
  await Promise.all([choose(manifest.models[0]), keepOffline()]);
}

run(start);
