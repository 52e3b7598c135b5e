// Ctrl-C and SIGTERM: the first one asks for a clean end, a later one ends at once.

/** One Ctrl-C may arrive twice, from the terminal and from a parent that passes it on. */
const sameSignalMs = 1_000;

export interface Shutdown {
  /** Aborted at the first signal. */
  signal: AbortSignal;
  /** Resolves at the first signal. */
  requested: Promise<void>;
  /** Stops listening to signals. */
  dispose(): void;
}

export function onShutdown(tell: (line: string) => void): Shutdown {
  const controller = new AbortController();
  let firstAtMs: number | undefined;
  const listener = (signal: NodeJS.Signals) => {
    if (firstAtMs !== undefined) {
      if (performance.now() - firstAtMs > sameSignalMs) process.exit(130);
      return;
    }
    firstAtMs = performance.now();
    tell(
      `${signal === 'SIGINT' ? 'Ctrl-C' : signal}: stopping; running containers go on (once more ends at once)`,
    );
    controller.abort();
  };
  process.on('SIGINT', listener);
  process.on('SIGTERM', listener);
  return {
    signal: controller.signal,
    requested: new Promise((resolve) =>
      controller.signal.addEventListener('abort', () => resolve(), { once: true }),
    ),
    dispose() {
      process.off('SIGINT', listener);
      process.off('SIGTERM', listener);
    },
  };
}
