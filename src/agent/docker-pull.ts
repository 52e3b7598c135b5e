// The engine's pull stream: progress in bytes over all layers, and the error that hides in its last line.
import type { PullProgress } from './runtime.ts';

interface PullLine {
  status?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  error?: string;
}

interface Layer {
  currentBytes: number;
  totalBytes: number | null;
  isDownloaded: boolean;
}

/** Sums what the lines say of each layer. */
export class PullMeter {
  readonly #layers = new Map<string, Layer>();
  #isExtracting = false;
  #rest = '';
  /** The engine's error text, once it said one. */
  error: string | null = null;

  push(chunk: Buffer): void {
    const lines = (this.#rest + chunk.toString('utf8')).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#read(line);
  }

  end(): void {
    this.#read(this.#rest);
    this.#rest = '';
  }

  progress(): PullProgress {
    const layers = [...this.#layers.values()];
    const isTotalKnown = layers.length > 0 && layers.every((layer) => layer.totalBytes !== null);
    const sum = (of: (layer: Layer) => number) => layers.reduce((total, layer) => total + of(layer), 0);
    return {
      phase: this.#isExtracting && layers.every((layer) => layer.isDownloaded) ? 'extracting' : 'pulling',
      receivedBytes: sum((layer) => layer.currentBytes),
      totalBytes: isTotalKnown ? sum((layer) => layer.totalBytes ?? 0) : null,
    };
  }

  #read(text: string): void {
    if (text.trim() === '') return;
    let line: PullLine;
    try {
      line = JSON.parse(text) as PullLine;
    } catch {
      return;
    }
    if (typeof line.error === 'string') this.error = line.error;
    if (typeof line.id === 'string' && typeof line.status === 'string') this.#readLayer(line.id, line);
  }

  #readLayer(id: string, { status, progressDetail }: PullLine): void {
    if (status === 'Pulling fs layer' || status === 'Waiting') {
      if (!this.#layers.has(id))
        this.#layers.set(id, { currentBytes: 0, totalBytes: null, isDownloaded: false });
      return;
    }
    const layer = this.#layers.get(id);
    if (layer === undefined) return;
    if (status === 'Downloading') {
      layer.currentBytes = progressDetail?.current ?? layer.currentBytes;
      layer.totalBytes = progressDetail?.total ?? layer.totalBytes;
    } else if (status === 'Download complete' || status === 'Extracting' || status === 'Pull complete') {
      // Small layers say no total before they are there.
      if (status === 'Extracting') layer.totalBytes ??= progressDetail?.total ?? null;
      layer.totalBytes ??= layer.currentBytes;
      layer.currentBytes = layer.totalBytes;
      layer.isDownloaded = true;
      this.#isExtracting ||= status === 'Extracting';
    }
  }
}
