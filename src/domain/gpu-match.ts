// Decides whether a graphics card is the model, and has the memory, that a job asks for.

/** The card as its driver names it; `registryVramGb` is the GPU registry's figure where the card is known. */
export interface GpuModel {
  name: string;
  vramMib: number;
  registryVramGb?: number | null;
}

const vendors = new Set(['nvidia', 'amd', 'intel']);
// rtx and gtx name generations of one brand: either may be left out, but they contradict each other.
const lines = new Set(['rtx', 'gtx']);
const brands = new Set(['geforce', 'quadro', 'tesla', 'radeon', 'instinct', 'arc']);
/**
 * Words a card's name may have beyond those asked for. They say how it is built or sold, not which chip it is.
 * Left out on purpose, since they are other chips: ti, super, d, ada, laptop, mobile, max, q, mig, s.
 */
const buildWords = new Set([
  ...['pcie', 'sxm', 'sxm2', 'sxm3', 'sxm4', 'sxm5', 'sxm6', 'nvl', 'oam'],
  ...['hbm2', 'hbm2e', 'hbm3', 'hbm3e', 'gddr6', 'gddr6x', 'gddr7'],
  ...['gpu', 'graphics', 'card', 'generation', 'server', 'workstation', 'edition', 'blackwell'],
]);
const memoryWord = /^(\d+)gi?b$/;

/**
 * True when `asked` names this card: every word asked for is in its name, and what else the name says is vendor,
 * brand or build (form factor, memory). `A100` is `NVIDIA A100-SXM4-80GB`; `A100 40GB` is not; 4090 is not 4090 D.
 */
export function matchesGpuName(asked: string, card: GpuModel): boolean {
  const askedWords = gpuNameWords(asked);
  const cardWords = gpuNameWords(card.name);
  if (contradicts(askedWords, cardWords, vendors) || contradicts(askedWords, cardWords, lines)) return false;
  for (const word of askedWords) {
    if (!cardWords.has(word) && !isFamily(word) && !isMemoryOf(word, card)) return false;
  }
  for (const word of cardWords) {
    if (!askedWords.has(word) && !isFamily(word) && !buildWords.has(word) && !memoryWord.test(word))
      return false;
  }
  return true;
}

/** The name in lower-case words: `RTX4090-D` is rtx, 4090, d. */
export function gpuNameWords(name: string): Set<string> {
  const words = name
    .toLowerCase()
    .replaceAll(/\((r|tm)\)/g, ' ')
    // People write these together or apart: RTX4090, 4070Ti, 80 GB.
    .replaceAll(/\b(rtx|gtx)(?=[a-z]?\d)/g, '$1 ')
    .replaceAll(/\b(\d{3,4})(ti|super|d)\b/g, '$1 $2')
    .replaceAll(/\b(\d+) (gi?b)\b/g, '$1$2')
    .split(/[^a-z0-9]+/);
  return new Set(words.filter((word) => word !== ''));
}

/**
 * True when a card has `minVramGb` (10^9 bytes) or is sold as having it. A driver hides up to a few hundred MiB of a
 * card sold in GiB: a 24,564 MiB 4090 is a 24, an 11,441 MiB K80 a 12 (though 11.997 * 10^9 bytes). Rounding up to
 * the GiB undoes that and never forgives a whole GiB.
 */
export function hasVram(card: GpuModel, minVramGb: number): boolean {
  return vramGb(card) >= minVramGb;
}

/** The largest VRAM a job may ask for and still get this card, in GB. */
export function vramGb(card: GpuModel): number {
  const measuredGb = (card.vramMib * 1024 * 1024) / 1e9;
  return Math.max(measuredGb, Math.ceil(card.vramMib / 1024), card.registryVramGb ?? 0);
}

function isFamily(word: string): boolean {
  return vendors.has(word) || lines.has(word) || brands.has(word);
}

function contradicts(
  asked: ReadonlySet<string>,
  card: ReadonlySet<string>,
  exclusive: ReadonlySet<string>,
): boolean {
  const ofAsked = [...exclusive].filter((word) => asked.has(word));
  const ofCard = [...exclusive].filter((word) => card.has(word));
  return ofAsked.length > 0 && ofCard.length > 0 && !ofAsked.some((word) => ofCard.includes(word));
}

/** `RTX 4060 Ti 16GB`: many drivers leave the memory out of the name, so the card's own memory answers. */
function isMemoryOf(word: string, card: GpuModel): boolean {
  const gb = Number(memoryWord.exec(word)?.[1] ?? Number.NaN);
  const rounded = Math.ceil(card.vramMib / 1024);
  return (
    gb === rounded || gb === Math.floor((card.vramMib * 1024 * 1024) / 1e9) || gb === card.registryVramGb
  );
}
