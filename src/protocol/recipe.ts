// Wire shapes of recipes (reference: recipe and cook pages): stored job templates with typed inputs.
import Type, { type Static } from 'typebox';
import { recipeInputTypes } from '../domain/recipe.ts';
import { ListOf } from './list.ts';
import { Nullable, Timestamp, Uuid, Words } from './schema.ts';

export const recipeVisibilities = ['PRIVATE', 'PUBLIC', 'ARCHIVED'] as const;

const Value = Type.Unsafe<string | number | boolean>({ type: ['string', 'number', 'boolean'] });
const NullableValue = Type.Unsafe<string | number | boolean | null>({
  type: ['string', 'number', 'boolean', 'null'],
});
const text = (maxLength: number) => Type.Optional(Nullable(Type.String({ maxLength })));

/** One thing that a person fills in. */
export const RecipeInputField = Type.Object(
  {
    key: Type.String({
      pattern: '^[A-Za-z][A-Za-z0-9_]{0,63}$',
      description: 'fills ${key} in the payload',
    }),
    type: Words(recipeInputTypes),
    label: text(128),
    required: Type.Optional(Nullable(Type.Boolean({ default: false }))),
    description: text(1024),
    placeholder: text(256),
    default_value: Type.Optional(NullableValue),
    options: Type.Optional(
      Nullable(
        Type.Array(
          Type.Object(
            { label: Type.String({ maxLength: 128 }), value: Value },
            { additionalProperties: false },
          ),
          { maxItems: 256 },
        ),
      ),
    ),
  },
  { additionalProperties: false },
);
export type RecipeInputField = Static<typeof RecipeInputField>;

/** As it is shown: with every field, whatever its maker left out. */
export const ShownRecipeInput = Type.Object({
  key: Type.String(),
  type: Words(recipeInputTypes),
  label: Type.String({ description: 'the key where none was given' }),
  required: Type.Boolean(),
  description: Nullable(Type.String()),
  placeholder: Nullable(Type.String()),
  default_value: NullableValue,
  options: Type.Array(Type.Object({ label: Type.String(), value: Value })),
});
export type ShownRecipeInput = Static<typeof ShownRecipeInput>;

const Payload = Type.Unsafe<Record<string, unknown>>({
  type: 'object',
  additionalProperties: true,
  description: 'the body of POST /v1/jobs, with ${key} where an input goes and $${key} for that text itself',
});

export const Recipe = Type.Object({
  object: Type.Literal('job_recipe'),
  uuid: Uuid,
  name: Type.String(),
  description: Nullable(Type.String()),
  visibility: Words(recipeVisibilities),
  version: Type.Integer({ description: 'rises with each change of payload or inputs' }),
  payload: Payload,
  input_schema: Type.Array(ShownRecipeInput),
  is_official: Type.Boolean(),
  is_owner: Type.Boolean(),
  forked_from_recipe_uuid: Nullable(Uuid),
  last_used_at: Nullable(Timestamp),
  quickstart_md: Nullable(Type.String()),
  thumbnail_url: Nullable(Type.String()),
  created_at: Timestamp,
  updated_at: Timestamp,
});
export type Recipe = Static<typeof Recipe>;
export const RecipeList = ListOf(Recipe);

const Name = Type.String({ minLength: 1, maxLength: 128 });
const shared = {
  description: text(4096),
  visibility: Type.Optional(Words(['PRIVATE', 'PUBLIC'] as const)),
  input_schema: Type.Optional(Nullable(Type.Array(RecipeInputField, { maxItems: 64 }))),
  quickstart_md: text(65_536),
  thumbnail_url: Type.Optional(Nullable(Type.String({ maxLength: 2048, pattern: '^(https?://|$)' }))),
};

/** Body of `POST /v1/job-recipes`. */
export const CreateRecipeBody = Type.Object(
  { name: Name, payload: Payload, ...shared },
  { additionalProperties: false },
);
export type CreateRecipeBody = Static<typeof CreateRecipeBody>;

/** Body of `PUT /v1/job-recipes/{uuid}`: what is absent stays. */
export const UpdateRecipeBody = Type.Object(
  { name: Type.Optional(Name), payload: Type.Optional(Payload), ...shared },
  { additionalProperties: false },
);
export type UpdateRecipeBody = Static<typeof UpdateRecipeBody>;

/** Body of archive; may be empty. */
export const ArchiveRecipeBody = Type.Object({}, { additionalProperties: false });

/** Body of fork; may be empty. */
export const ForkRecipeBody = Type.Object({ name: Type.Optional(Name) }, { additionalProperties: false });
export type ForkRecipeBody = Static<typeof ForkRecipeBody>;

/** Body of cook: overrides of the payload's fields, and values of the inputs. `{}` cooks with the defaults. */
export const CookRecipeBody = Type.Unsafe<Record<string, unknown>>({
  type: 'object',
  additionalProperties: true,
  properties: {
    inputs: { type: 'object', additionalProperties: true, description: 'values by key of input_schema' },
  },
  description:
    'any field of POST /v1/jobs overrides the recipe’s; fields of parameters.parameters and of env by name',
});
