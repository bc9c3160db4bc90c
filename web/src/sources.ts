/** Where pictures come from: files, the clipboard, samples, cameras and videos. */

import { type Picture, UserError } from './messages';

/** Pictures upright, and with the file's own colours, as Python reads them. */
const DECODING: ImageBitmapOptions = {
  imageOrientation: 'from-image',
  colorSpaceConversion: 'none',
};

/** Decodes a picture. */
export async function decode(file: Blob, name: string): Promise<Picture> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file, DECODING);
  } catch {
    throw new UserError(`${name} is no picture that this browser can read.`);
  }
  try {
    return readPixels(bitmap, bitmap.width, bitmap.height);
  } catch {
    const size = `${bitmap.width}x${bitmap.height}`;
    throw new UserError(`${name} is too large for this browser (${size}).`);
  } finally {
    bitmap.close();
  }
}

const canvas = document.createElement('canvas');

function readPixels(image: CanvasImageSource, width: number, height: number): Picture {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext('2d', { willReadFrequently: true, alpha: false })!;
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, pixels: data as Picture['pixels'] };
}

export async function fetchSample(url: string): Promise<Blob> {
  const response = await fetch(url).catch(() => undefined);
  if (!response?.ok) throw new UserError(`The sample ${url} is not on the server.`);
  return response.blob();
}

/** A camera or a video, whose frames are taken as they are wanted. */
export class Live {
  private readonly video = document.createElement('video');
  private stream?: MediaStream;
  private address?: string;
  /** Whether it is a camera that looks at its user, who expects a mirror. */
  mirrored = false;

  private constructor(readonly name: string) {
    this.video.muted = true;
    this.video.loop = true;
    this.video.playsInline = true;
  }

  /**
   * Opens a camera.
   *
   * @param facing Of a phone: `environment` is at its back, `user` at its front.
   */
  static async camera(facing: 'environment' | 'user'): Promise<Live> {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new UserError(
        window.isSecureContext
          ? 'This browser gives pages no camera.'
          : 'Browsers give a camera to pages of https and localhost alone, and this ' +
              'one came by http. Serve it with tools/web.py --https.',
      );
    }
    const live = new Live('camera');
    try {
      live.stream = await navigator.mediaDevices.getUserMedia({
        video: { facingMode: facing, width: { ideal: 640 }, height: { ideal: 480 } },
      });
    } catch (error) {
      throw new UserError(cameraMessage(error));
    }
    const settings = live.stream.getVideoTracks()[0]?.getSettings();
    live.mirrored = settings?.facingMode === 'user';
    live.video.srcObject = live.stream;
    await live.video.play();
    return live;
  }

  /** Opens a video. */
  static async file(file: Blob, name: string): Promise<Live> {
    const live = new Live(name);
    live.address = URL.createObjectURL(file);
    live.video.src = live.address;
    try {
      await live.video.play();
    } catch {
      live.close();
      throw new UserError(`${name} is no video that this browser can play.`);
    }
    return live;
  }

  /**
   * The picture that is shown now, once there is a newer one than before.
   *
   * @param old A picture that is no more needed, whose memory is used again.
   */
  async frame(old?: Picture): Promise<Picture> {
    const { video } = this;
    if ('requestVideoFrameCallback' in video) {
      // A hidden page gets no frames, and must not wait for ever.
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1000);
        video.requestVideoFrameCallback(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    const { videoWidth: width, videoHeight: height } = video;
    const bytes = 4 * width * height;
    if (globalThis.VideoFrame) {
      const frame = new VideoFrame(video);
      try {
        // Chromium keeps hundreds of frames that were drawn (seen in 156), and none of
        // those that were copied. Some browsers copy no RGB, and say another size.
        const as = { format: 'RGBX' } as VideoFrameCopyToOptions;
        const turned = frame.displayWidth !== width || frame.codedWidth !== width;
        if (!turned && frame.allocationSize(as) === bytes) {
          const fits = old?.pixels.length === bytes;
          const pixels = fits ? old.pixels : new Uint8ClampedArray(bytes);
          await frame.copyTo(pixels, as);
          return { width, height, pixels };
        }
      } catch (error) {
        if (!(error instanceof DOMException || error instanceof TypeError)) throw error;
      } finally {
        frame.close();
      }
    }
    return readPixels(video, width, height);
  }

  get paused(): boolean {
    return this.video.paused;
  }

  async toggle(): Promise<void> {
    if (this.paused) await this.video.play();
    else this.video.pause();
  }

  close(): void {
    this.video.pause();
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.video.removeAttribute('src');
    if (this.address) URL.revokeObjectURL(this.address);
  }
}

function cameraMessage(error: unknown): string {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError' || name === 'SecurityError') {
    return (
      'The camera was denied. Allow it in the settings that the browser shows beside ' +
      'the address, then press Camera again.'
    );
  }
  if (name === 'NotFoundError' || name === 'OverconstrainedError') {
    return 'There is no camera.';
  }
  if (name === 'NotReadableError') return 'Another program uses the camera.';
  return `The camera cannot be opened (${name || error}).`;
}

/** The first file of what was dropped or pasted; undefined where there is none. */
export function firstFile(data: DataTransfer | null): File | undefined {
  return data?.files[0];
}
