// Wire shapes of file transfer into and out of a run's container.
import Type, { type Static } from 'typebox';
import { Uuid } from './schema.ts';

/** Answer of `PUT /v1/job-runs/{uuid}/files`. */
export const FilesWritten = Type.Object({
  object: Type.Literal('job_run_files'),
  job_run_uuid: Uuid,
  path: Type.String(),
});
export type FilesWritten = Static<typeof FilesWritten>;

/** Largest upload; more goes in several. */
export const maxUploadBytes = 1024 * 1024 * 1024;
