// Errors of the command line itself: what was typed cannot be done, or waiting took too long.

/** What the person typed cannot be done; the message is one sentence that says what to write instead. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** What the person named does not exist; found out here, not by the server. */
export class NotFoundError extends Error {
  override readonly name = 'NotFoundError';
}

/** The time given for waiting is up; what was waited for goes on. */
export class WaitTimeoutError extends Error {
  override readonly name = 'WaitTimeoutError';
}
