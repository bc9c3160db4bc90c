import { defaultClientConditions, defineConfig, type Plugin } from 'vite';

const SERVICE_WORKER = 'service-worker';

/** A service worker serves what lies beside it and below, so it lies at the top. */
const entryFileNames = ({ name }: { name: string }) =>
  name === SERVICE_WORKER ? '[name].js' : 'assets/[name]-[hash].js';

/** Servers that do not know .mjs would send a type that browsers refuse to run. */
const assetFileNames = ({ names }: { names: string[] }) =>
  names[0]?.endsWith('.mjs') ? 'assets/[name]-[hash].js' : 'assets/[name]-[hash][extname]';

/** Tells the service worker the names of all files, which hold their hashes. */
function fileList(): Plugin {
  return {
    name: 'file-list',
    enforce: 'post',
    generateBundle(_, bundle) {
      const worker = bundle[`${SERVICE_WORKER}.js`];
      if (worker?.type !== 'asset') throw new Error(`${SERVICE_WORKER}.js is not built`);
      const files = Object.keys(bundle).filter((name) => name !== worker.fileName);
      const list = JSON.stringify(files.sort());
      worker.source = String(worker.source).replace(/(["'`])__FILES__\1/, () => list);
    },
  };
}

export default defineConfig({
  // Any folder of a server will do.
  base: './',
  resolve: {
    // ONNX Runtime without its WebAssembly inside: the worker fetches that, and shows
    // how far it is.
    conditions: ['onnxruntime-web-use-extern-wasm', ...defaultClientConditions],
  },
  worker: { format: 'es', rolldownOptions: { output: { entryFileNames, assetFileNames } } },
  plugins: [fileList()],
  build: {
    // Into the package, so that its wheel has the page.
    outDir: '../mmnv3/deploy/page',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
});
