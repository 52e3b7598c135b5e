// Ctrl-C and SIGTERM: the first one asks for a clean end, the second one ends at once.

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
  const listener = (signal: NodeJS.Signals) => {
    if (controller.signal.aborted) process.exit(130);
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
