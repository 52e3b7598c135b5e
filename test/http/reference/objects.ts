// All field lists, in the order in which docs/compatibility.md shows them.
import { balance, createdKey, errorEnvelope, jwks, listEnvelope, me, transaction } from './account-fields.ts';
import { cookRecipe, createJob, stopJob } from './body-fields.ts';
import type { ReferenceObject } from './field-list.ts';
import { job, jobRun, listedJobRun } from './job-fields.ts';
import { gpuRegistryEntry, node, offer, recipe, recipePayload } from './market-fields.ts';

export const referenceObjects: readonly ReferenceObject[] = [
  ...[listEnvelope, errorEnvelope, createJob, stopJob, job, jobRun, listedJobRun],
  ...[recipe, recipePayload, cookRecipe, gpuRegistryEntry, offer, node],
  ...[transaction, balance, me, createdKey, jwks],
];
