// Finds the GPU registry's entry of a graphics card: by name or alias, and by memory where a model was sold with several.
import { type GpuModel, gpuNameWords, matchesGpuName, vramGb } from './gpu-match.ts';

/** A known model. `hourlyRateMicros`: micro-dollars an hour; null: no price is known. */
export interface RegistryGpu {
  id: string;
  name: string;
  aliases: readonly string[];
  vramGb: number;
  hourlyRateMicros: number | null;
}

/** A driver shows a little less or more than what a card is sold as: 79.6 to 85.9 for 80 GB, 143.8 for 141. */
const vramTolerance = 0.12;

/** null: no entry is this card. Of several, the one that shares most words with the card's name, then the nearest in memory. */
export function findRegistryGpu(card: GpuModel, registry: readonly RegistryGpu[]): RegistryGpu | null {
  const cardWords = gpuNameWords(card.name);
  const cardVramGb = vramGb(card);
  const found = registry.flatMap((entry) => {
    const distance = Math.abs(entry.vramGb - cardVramGb) / entry.vramGb;
    const words = [entry.name, ...entry.aliases]
      .filter((name) => matchesGpuName(name, card))
      .map((name) => [...gpuNameWords(name)].filter((word) => cardWords.has(word)).length);
    return words.length === 0 || distance > vramTolerance
      ? []
      : [{ entry, distance, sharedWords: Math.max(...words) }];
  });
  found.sort(
    (a, b) => b.sharedWords - a.sharedWords || a.distance - b.distance || (a.entry.id < b.entry.id ? -1 : 1),
  );
  return found[0]?.entry ?? null;
}

/** Finds entries again and again: a fleet has few kinds of card. */
export class RegistryIndex {
  readonly #registry: readonly RegistryGpu[];
  readonly #found = new Map<string, RegistryGpu | null>();

  constructor(registry: readonly RegistryGpu[]) {
    this.#registry = registry;
  }

  find(card: GpuModel): RegistryGpu | null {
    const key = `${card.vramMib} ${card.name}`;
    const known = this.#found.get(key);
    if (known !== undefined) return known;
    const found = findRegistryGpu(card, this.#registry);
    this.#found.set(key, found);
    return found;
  }
}
