/** What the site holds: `models.json`, which tools/export.py writes. */

import { type Model, UserError } from './messages';

export interface Sample {
  file: string;
  version: string;
}

export interface Manifest {
  models: Model[];
  samples: Sample[];
}

/** Under the page's folder. */
export function sampleAddress({ file, version }: Sample): string {
  return `${file}?v=${version}`;
}

export async function readManifest(base: string): Promise<Manifest> {
  const response = await fetch(`${base}models.json`).catch(() => undefined);
  if (!response) {
    throw new UserError('models.json cannot be fetched. Is the server there?');
  }
  let manifest: Manifest | undefined;
  try {
    manifest = response.ok ? ((await response.json()) as Manifest) : undefined;
  } catch {
    manifest = undefined; // Some servers answer with a page of their own.
  }
  if (!manifest?.models?.length) {
    throw new UserError(
      'There is no models.json beside this page. tools/export.py --format web writes ' +
        'it with the model.',
    );
  }
  return manifest;
}
