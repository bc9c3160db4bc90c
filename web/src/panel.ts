/** What stands beside the picture: rows, times, sliders. */

import { css, percent } from './drawing';
import type { Row } from './found';
import type { Model, Task } from './messages';
import type { Times } from './times';

/** An element of the page by its id. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const TITLES: Record<Task, string> = {
  detection: 'Found',
  segmentation: 'Parts of the picture',
  classification: 'Best classes',
};

/** Lists what was found. */
export function showRows(rows: Row[], task: Task): void {
  element('found-title').textContent = TITLES[task];
  const count = rows.length === 1 ? '1 object' : `${rows.length} objects`;
  element('count').textContent = task === 'detection' ? count : '';
  const items = rows.map(({ name, colour, value }) => {
    const item = document.createElement('li');
    const swatch = span('swatch');
    swatch.style.background = css(colour);
    const bar = span('bar');
    const fill = document.createElement('i');
    fill.style.width = `${100 * value}%`;
    fill.style.background = css(colour);
    bar.append(fill);
    const shown = task === 'segmentation' ? percent(value) : value.toFixed(2);
    item.append(swatch, span('name', name), bar, span('value', shown));
    item.title = name;
    return item;
  });
  if (!items.length) {
    const none = document.createElement('li');
    none.className = 'none';
    none.textContent = 'Nothing scores so much.';
    items.push(none);
  }
  element('rows').replaceChildren(...items);
}

function span(name: string, text = ''): HTMLSpanElement {
  const found = document.createElement('span');
  found.className = name;
  found.textContent = text;
  return found;
}

const STAGES = ['Pixels', 'Network', 'Drawing'];

/** Shows the medians. */
export function showTimes(times: Times): void {
  const rows: [string, string, boolean][] = [];
  let total = 0;
  for (const stage of STAGES) {
    const median = times.median(stage);
    if (median === undefined) continue;
    total += median;
    rows.push([stage, milliseconds(median), false]);
  }
  if (rows.length) rows.push(['Together', milliseconds(total), true]);
  const between = times.median('Frame');
  if (between) rows.push(['Frames a second', (1000 / between).toFixed(1), false]);
  const items = rows.flatMap(([name, value, isTotal]) => {
    const pair = [document.createElement('dt'), document.createElement('dd')];
    pair[0].textContent = name;
    pair[1].textContent = value;
    for (const part of pair) part.classList.toggle('total', isTotal);
    return pair;
  });
  element('times').replaceChildren(...items);
  element('time-count').textContent =
    times.count > 1 ? `median of ${times.count}` : '';
}

function milliseconds(value: number): string {
  return `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}

/** Shows the sliders that a task has. */
export function showSliders(model: Model): void {
  const { task } = model;
  element('threshold-row').hidden = task !== 'detection';
  element('limit-row').hidden = task === 'segmentation';
  element('opacity-row').hidden = task !== 'segmentation';
  element('save-mask').hidden = task !== 'segmentation';
  const limit = element<HTMLInputElement>('limit');
  const most = task === 'detection' ? Math.min(model.max_detections ?? 100, 100) : 5;
  limit.max = String(most);
  limit.value = String(task === 'detection' ? Math.min(50, most) : most);
}

/** Shows a message for a person; null for none. */
export function showMessage(text: string | null): void {
  const box = element('message');
  box.hidden = text === null;
  box.querySelector('p')!.textContent = text ?? '';
}

/** Shows how much of the model is there; null where it is loaded. */
export function showProgress(loaded: number | null, total = 0): void {
  element('loading').hidden = loaded === null;
  if (loaded === null) return;
  const bar = element<HTMLProgressElement>('progress');
  const starting = loaded >= total && total > 0;
  if (total && !starting) bar.value = loaded / total;
  else bar.removeAttribute('value');
  const mib = (bytes: number) => (bytes / 2 ** 20).toFixed(1);
  element('loading-text').textContent = starting
    ? 'Starting the model'
    : `Loading the model${total ? `, ${mib(loaded)} of ${mib(total)} MiB` : ''}`;
}
