/** The page's side of the worker. */

import {
  type Backend,
  type Model,
  type Picture,
  type Reply,
  type Request,
  UserError,
} from './messages';
import InferenceWorker from './worker?worker';

export type Found = Extract<Reply, { kind: 'found' }>;

// What is asked of a model that is no more; its worker will never answer.
const EXCHANGED: Reply = { kind: 'failed', message: 'The model was exchanged.' };

/** A loaded model in a worker of its own, which takes one picture after another. */
export class Client {
  private readonly worker = new InferenceWorker();
  private settle?: (reply: Reply) => void;
  private closed = false;
  private before: Promise<unknown> = Promise.resolve();
  private progress: (loaded: number, total: number) => void = () => undefined;

  private constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if (data.kind === 'progress') this.progress(data.loaded, data.total);
      else this.settle?.(data);
    };
    this.worker.onerror = (event) => {
      const message = `The worker stopped (${event.message ?? 'it cannot be loaded'}).`;
      this.settle?.({ kind: 'failed', message });
    };
  }

  /**
   * Loads a model.
   *
   * @param progress Told the bytes so far and in all.
   * @param signal Ends the loading.
   */
  static async load(
    model: Model,
    backend: Backend,
    base: string,
    progress: (loaded: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<Client> {
    const client = new Client();
    client.progress = progress;
    signal.addEventListener('abort', () => client.close());
    const reply = await client.ask({ kind: 'load', model, backend, base });
    if (reply.kind === 'failed') {
      client.close();
      throw new UserError(reply.message);
    }
    return client;
  }

  /** Looks into a picture, which is back with what was found. */
  async run(picture: Picture): Promise<Found> {
    const reply = await this.ask({ kind: 'run', picture }, [picture.pixels.buffer]);
    if (reply.kind === 'found') return reply;
    throw new UserError(reply.kind === 'failed' ? reply.message : 'There is no answer.');
  }

  close(): void {
    this.closed = true;
    this.worker.terminate();
    this.settle?.(EXCHANGED);
  }

  private ask(request: Request, transfer: Transferable[] = []): Promise<Reply> {
    const reply = this.before.then(
      () =>
        new Promise<Reply>((resolve) => {
          if (this.closed) return resolve(EXCHANGED);
          this.settle = resolve;
          this.worker.postMessage(request, transfer);
        }),
    );
    this.before = reply;
    return reply;
  }
}
