/** Files that stay on the device, so that the page works without a network. */

import { UserError } from './messages';

/** Several pages may live on one server; each has its own cache. */
export function cacheName(base: string): string {
  return `mmnv3 ${new URL(base).pathname}`;
}

/** The cache, which browsers have on https and localhost alone. */
async function openCache(base: string): Promise<Cache | undefined> {
  try {
    return await globalThis.caches?.open(cacheName(base));
  } catch {
    return undefined; // Private windows may refuse it; the page then works online.
  }
}

/**
 * Fetches a file, or takes it from the cache.
 *
 * @param url Where it is.
 * @param base The folder of the page.
 * @param progress Told the bytes so far and in all, 0 where the server does not say.
 * @param bytes What it must have; undefined for whatever there is.
 */
export async function fetchFile(
  url: string,
  base: string,
  progress: (loaded: number, total: number) => void,
  bytes?: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const name = url.replace(base, '').split('?')[0];
  const cache = await openCache(base);
  const kept = await cache?.match(url);
  let response = kept;
  try {
    response ??= await fetch(url);
  } catch {
    throw new UserError(`${name} cannot be fetched. Is the network there?`);
  }
  if (!response.ok) {
    throw new UserError(
      `${name} is not on the server (status ${response.status}). ` +
        'Copy the whole folder there, or export it again.',
    );
  }
  const content = await read(response, progress, bytes);
  if (bytes !== undefined && content.length !== bytes) {
    await cache?.delete(url);
    throw new UserError(
      `${name} has ${content.length} bytes instead of ${bytes}. ` +
        'Copy it to the server again.',
    );
  }
  if (!kept) {
    // A full disk or quota only means that it is fetched again.
    await cache?.put(url, new Response(content)).catch(() => undefined);
  }
  return content;
}

async function read(
  response: Response,
  progress: (loaded: number, total: number) => void,
  bytes?: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const packed = response.headers.has('content-encoding');
  const total = bytes ?? (packed ? 0 : Number(response.headers.get('content-length')));
  const chunks: Uint8Array[] = [];
  let loaded = 0;
  const reader = response.body!.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    loaded += value.length;
    progress(loaded, Math.max(total, loaded));
  }
  const content = new Uint8Array(loaded);
  let at = 0;
  for (const chunk of chunks) {
    content.set(chunk, at);
    at += chunk.length;
  }
  return content;
}

/** Forgets models that the page has no more. */
export async function forgetModels(base: string, wanted: string[]): Promise<void> {
  const cache = await openCache(base);
  for (const request of (await cache?.keys()) ?? []) {
    if (request.url.startsWith(`${base}models/`) && !wanted.includes(request.url)) {
      await cache?.delete(request);
    }
  }
}
