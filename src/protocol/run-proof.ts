// Wire shape of the proof that nothing of a run is left: what its agent saw when everything was gone.
import Type, { type Static } from 'typebox';
import { Nullable, Words } from './schema.ts';

const Why = Nullable(Type.String({ maxLength: 1024 }));
/** `none`: there never was one; `not_seen`: it could not be looked at, `why` says why. */
const Remains = Type.Object({ state: Words(['gone', 'none', 'not_seen']), why: Why });
const Mib = Nullable(Type.Integer({ minimum: 0 }));

export const RunProof = Type.Object({
  /** One life of the agent saw the whole end: a step it does not name did not happen. */
  is_whole: Type.Boolean(),
  container: Remains,
  processes: Remains,
  networks: Remains,
  volumes: Remains,
  gpus: Type.Array(
    Type.Object({
      uuid: Type.String({ maxLength: 128 }),
      state: Words(['clean', 'dirty', 'not_seen']),
      why: Why,
      baseline_mib: Mib,
      used_mib: Mib,
    }),
    { maxItems: 1024 },
  ),
});
export type RunProof = Static<typeof RunProof>;
