// Recipes: stored job templates, their versions, and who may see them.
import { isDeepStrictEqual } from 'node:util';
import type { RecipeInputField } from '../protocol/recipe.ts';
import type { Sql } from './database.ts';
import { countRows, type ListQuery, type ListResult, orderAndPage, type Where, whereOf } from './list-sql.ts';
import type { Vault } from './vault.ts';

export type RecipeVisibility = 'PRIVATE' | 'PUBLIC' | 'ARCHIVED';
/** A create body, with places for the inputs. */
export type RecipePayload = Readonly<Record<string, unknown>>;

export interface RecipeRecord {
  id: string;
  /** null: official. */
  accountId: string | null;
  name: string;
  description: string | null;
  visibility: RecipeVisibility;
  version: number;
  payload: RecipePayload;
  inputSchema: readonly RecipeInputField[];
  quickstartMd: string | null;
  thumbnailUrl: string | null;
  forkedFrom: string | null;
  lastUsedAtMs: number | null;
  createdAtMs: number;
  updatedAtMs: number;
}

interface RecipeRow {
  id: string;
  account_id: string | null;
  name: string;
  description: string | null;
  visibility: RecipeVisibility;
  version: number;
  payload_sealed: Buffer;
  input_schema: RecipeInputField[];
  quickstart_md: string | null;
  thumbnail_url: string | null;
  forked_from: string | null;
  last_used_at: number | null;
  created_at: number;
  updated_at: number;
}

export interface NewRecipe {
  id: string;
  accountId: string | null;
  name: string;
  description: string | null;
  visibility: RecipeVisibility;
  payload: RecipePayload;
  inputSchema: readonly RecipeInputField[];
  quickstartMd: string | null;
  thumbnailUrl: string | null;
  forkedFrom: string | null;
}

const recipeTables = 'recipes p join recipe_versions v on v.recipe_id = p.id and v.version = p.version';
const recipeColumns = 'p.*, v.payload_sealed, v.input_schema';
/** `$1` is the account that looks. */
const isVisible = `(p.account_id = $1 or ((p.account_id is null or p.visibility = 'PUBLIC') and p.visibility <> 'ARCHIVED'))`;

export async function createRecipe(sql: Sql, vault: Vault, recipe: NewRecipe): Promise<void> {
  await sql.query(
    `with created as (
       insert into recipes (id, account_id, name, description, visibility, quickstart_md, thumbnail_url, forked_from)
       values ($1, $2, $3, $4, $5, $6, $7, $8)
     )
     insert into recipe_versions (recipe_id, version, payload_sealed, input_schema) values ($1, 1, $9, $10)`,
    [
      recipe.id,
      recipe.accountId,
      recipe.name,
      recipe.description,
      recipe.visibility,
      recipe.quickstartMd,
      recipe.thumbnailUrl,
      recipe.forkedFrom,
      vault.seal(JSON.stringify(recipe.payload), ownerOf(recipe.id)),
      JSON.stringify(recipe.inputSchema),
    ],
  );
}

/** null: there is none that the account may see. */
export async function getRecipe(
  sql: Sql,
  vault: Vault,
  recipe: { id: string; accountId: string },
): Promise<RecipeRecord | null> {
  const [row] = await sql.query<RecipeRow>(
    `select ${recipeColumns} from ${recipeTables} where ${isVisible} and p.id = $2`,
    [recipe.accountId, recipe.id],
  );
  return row === undefined ? null : toRecord(row, vault);
}

/** Own ones, official ones and public ones; archived ones only where the filter asks for them, and own ones alone. */
export async function listRecipes(
  sql: Sql,
  vault: Vault,
  query: ListQuery & { accountId: string; isOfficial: boolean | null },
): Promise<ListResult<RecipeRecord>> {
  const filtered = whereOf(query, { column: '$1::uuid', value: query.accountId });
  const official = query.isOfficial === null ? 'true' : `(p.account_id is null) = ${query.isOfficial}`;
  const where: Where = {
    values: filtered.values,
    text: `${isVisible} and ${official} and (${filtered.text})`,
  };
  const rows = await sql.query<RecipeRow>(
    `select ${recipeColumns} from ${recipeTables} where ${where.text} ${orderAndPage(query, 'p')}`,
    where.values,
  );
  const count = await countRows(sql, { tables: recipeTables, where, query, found: rows.length });
  return { items: rows.map((row) => toRecord(row, vault)), ...count };
}

export type RecipeChange = Partial<
  Pick<NewRecipe, 'name' | 'description' | 'visibility' | 'quickstartMd' | 'thumbnailUrl'>
> & { content?: { payload: RecipePayload; inputSchema: readonly RecipeInputField[] } };

/** New content is a new version. The caller has the row locked by `lockRecipe`. */
export async function updateRecipe(
  sql: Sql,
  vault: Vault,
  { id, ...change }: RecipeChange & { id: string },
): Promise<void> {
  const { content } = change;
  const [row] = await sql.query<{ version: number }>(
    `update recipes set name = coalesce($2, name), visibility = coalesce($3, visibility),
       description = case when $4 then $5 else description end,
       quickstart_md = case when $6 then $7 else quickstart_md end,
       thumbnail_url = case when $8 then $9 else thumbnail_url end,
       version = version + $10, updated_at = flotilla_now()
     where id = $1 returning version`,
    [
      id,
      change.name ?? null,
      change.visibility ?? null,
      change.description !== undefined,
      change.description ?? null,
      change.quickstartMd !== undefined,
      change.quickstartMd ?? null,
      change.thumbnailUrl !== undefined,
      change.thumbnailUrl ?? null,
      content === undefined ? 0 : 1,
    ],
  );
  if (content === undefined || row === undefined) return;
  await sql.query(
    'insert into recipe_versions (recipe_id, version, payload_sealed, input_schema) values ($1, $2, $3, $4)',
    [
      id,
      row.version,
      vault.seal(JSON.stringify(content.payload), ownerOf(id)),
      JSON.stringify(content.inputSchema),
    ],
  );
}

/**
 * The recipe as it is, kept so until the end of the transaction. Locked first and read after: a statement that waits for the
 * lock would look for the new version among the rows from before it waited.
 */
export async function lockRecipe(
  sql: Sql,
  vault: Vault,
  recipe: { id: string; accountId: string },
): Promise<RecipeRecord | null> {
  await sql.query('select from recipes where id = $1 for update', [recipe.id]);
  return getRecipe(sql, vault, recipe);
}

export async function noteRecipeUse(sql: Sql, id: string): Promise<void> {
  await sql.query('update recipes set last_used_at = flotilla_now() where id = $1', [id]);
}

/** Writes the official recipes as this version of Flotilla has them; what changed becomes a new version. */
export async function storeOfficialRecipes(
  sql: Sql,
  vault: Vault,
  recipes: readonly Omit<NewRecipe, 'accountId' | 'visibility' | 'forkedFrom'>[],
): Promise<void> {
  for (const recipe of recipes) {
    const [row] = await sql.query<RecipeRow>(
      `select ${recipeColumns} from ${recipeTables} where p.id = $1 for update of p`,
      [recipe.id],
    );
    if (row === undefined) {
      await createRecipe(sql, vault, { ...recipe, accountId: null, visibility: 'PUBLIC', forkedFrom: null });
      continue;
    }
    const { payload, inputSchema, name, description, quickstartMd } = toRecord(row, vault);
    const content = { payload: recipe.payload, inputSchema: recipe.inputSchema };
    // The database keeps the fields of input_schema in an order of its own.
    const isSame = isDeepStrictEqual({ payload, inputSchema }, content);
    const isSameText =
      name === recipe.name && description === recipe.description && quickstartMd === recipe.quickstartMd;
    if (isSame && isSameText) continue;
    await updateRecipe(sql, vault, { ...recipe, ...(isSame ? {} : { content }) });
  }
}

function ownerOf(recipeId: string): string {
  return `recipe/${recipeId}`;
}

function toRecord(row: RecipeRow, vault: Vault): RecipeRecord {
  return {
    id: row.id,
    accountId: row.account_id,
    name: row.name,
    description: row.description,
    visibility: row.visibility,
    version: row.version,
    payload: JSON.parse(vault.open(row.payload_sealed, ownerOf(row.id))) as RecipePayload,
    inputSchema: row.input_schema,
    quickstartMd: row.quickstart_md,
    thumbnailUrl: row.thumbnail_url,
    forkedFrom: row.forked_from,
    lastUsedAtMs: row.last_used_at,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}
