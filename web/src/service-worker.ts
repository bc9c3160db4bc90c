/** Answers from the cache, so that the page works without a network. */

import { cacheName } from './cache';
import { type Manifest, sampleAddress } from './manifest';

const scope = self as unknown as ServiceWorkerGlobalScope;
// All files of the page; vite.config.ts fills them in.
const FILES = '__FILES__' as unknown as string[];
// The runtimes are large, and one of them is enough: the page fetches that itself.
const SMALL = FILES.filter((name) => !name.endsWith('.wasm'));
const FIXED = ['./', 'models.json', 'icon.svg', 'app.webmanifest'];

scope.addEventListener('install', (event) => event.waitUntil(fill()));
scope.addEventListener('activate', (event) => event.waitUntil(takeOver()));
scope.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method === 'GET' && url.href.startsWith(scope.registration.scope)) {
    event.respondWith(answer(event.request, url));
  }
});

function open(): Promise<Cache> {
  return caches.open(cacheName(scope.registration.scope));
}

async function fill(): Promise<void> {
  const cache = await open();
  await cache.addAll([...FIXED, ...SMALL.filter((name) => name !== 'index.html')]);
  const { samples } = (await (await cache.match('models.json'))!.json()) as Manifest;
  await cache.addAll(samples.map(sampleAddress));
  await scope.skipWaiting();
}

/** Removes what earlier versions of the page left, and serves open pages at once. */
async function takeOver(): Promise<void> {
  const cache = await open();
  const assets = new URL('assets/', scope.registration.scope).href;
  const wanted = new Set(
    FILES.map((name) => new URL(name, scope.registration.scope).href),
  );
  for (const { url } of await cache.keys()) {
    if (url.startsWith(assets) && !wanted.has(url)) await cache.delete(url);
  }
  await scope.clients.claim();
}

/** Names with a hash never change; of the others the server's are the newest. */
async function answer(request: Request, url: URL): Promise<Response> {
  const cache = await open();
  if (url.pathname.includes('/assets/') || url.search) {
    const kept = await cache.match(request);
    if (kept) return kept;
  }
  try {
    const response = await fetch(request);
    const keep = !url.pathname.includes('/models/') && !url.pathname.endsWith('.wasm');
    if (response.ok && keep) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const kept = await cache.match(request, { ignoreVary: true });
    if (kept) return kept;
    throw error;
  }
}
