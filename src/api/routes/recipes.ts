// Routes of recipes: create, list, get, update, archive, fork, and cook, which makes a job of one.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { Sql } from '../../db/database.ts';
import { claimNonce } from '../../db/nonces.ts';
import {
  createRecipe,
  getRecipe,
  listRecipes,
  lockRecipe,
  noteRecipeUse,
  type RecipeRecord,
  updateRecipe,
} from '../../db/recipes.ts';
import { Job } from '../../protocol/job.ts';
import {
  ArchiveRecipeBody,
  CookRecipeBody,
  CreateRecipeBody,
  ForkRecipeBody,
  Recipe,
  RecipeList,
  recipeVisibilities,
  UpdateRecipeBody,
} from '../../protocol/recipe.ts';
import { type Caller, callerOf, requirePermission } from '../auth.ts';
import type { ApiDeps } from '../deps.ts';
import { ApiError, nonceReused, notFound } from '../errors.ts';
import { createJob, findRepeated } from '../job-creation.ts';
import { nullableTimestamp, timestamp } from '../job-view.ts';
import type { JobDeps } from '../job-views.ts';
import { type FilterRules, parseListQuery } from '../list-query.ts';
import { checkRecipeContent, toShownInput } from '../recipe-content.ts';
import { readCooked } from '../recipe-cook.ts';
import { maskPayload } from '../recipe-mask.ts';
import { listOf, listQuerySchema, rawQueryOf, uuidOf, uuidParams } from '../route-parts.ts';
import { bodyCheck } from '../validate.ts';
import { idempotencyHeader } from './jobs.ts';

const filters: FilterRules = {
  is_official: { kind: 'words', column: 'is_official', words: ['true', 'false'] },
  visibility: { kind: 'words', column: 'p.visibility', words: recipeVisibilities },
  name: { kind: 'prefix', column: 'p.name' },
  uuid: { kind: 'uuids', column: 'p.id' },
  created_at: { kind: 'times', column: 'p.created_at' },
};
const createCheck = bodyCheck(CreateRecipeBody);
const updateCheck = bodyCheck(UpdateRecipeBody);
const archiveCheck = bodyCheck(ArchiveRecipeBody);
const forkCheck = bodyCheck(ForkRecipeBody);
const tags = ['Job recipes'];

export function recipeRoutes(app: FastifyInstance, deps: JobDeps): void {
  app.post(
    '/v1/job-recipes',
    { schema: { tags, summary: 'Create a recipe', body: CreateRecipeBody, response: { 201: Recipe } } },
    async (request, reply) => reply.code(201).send(await create(request, deps)),
  );
  app.get(
    '/v1/job-recipes',
    {
      schema: {
        tags,
        summary:
          'List recipes: your own, official and public ones; archived ones when filter[visibility] asks',
        querystring: listQuerySchema(filters),
        response: { 200: RecipeList },
      },
    },
    (request) => list(request, deps),
  );
  app.get(
    '/v1/job-recipes/:uuid',
    { schema: { tags, summary: 'Get one recipe', params: uuidParams, response: { 200: Recipe } } },
    async (request) => {
      const caller = callerOf(request);
      requirePermission(caller, 'recipes:read');
      return recipeView(await requireRecipe(request, caller, deps), caller);
    },
  );
  changeRoutes(app, deps);
  app.post(
    '/v1/job-recipes/:uuid/cook',
    {
      schema: {
        tags,
        summary: 'Make a job of a recipe',
        params: uuidParams,
        headers: idempotencyHeader,
        body: CookRecipeBody,
        response: { 201: Job },
      },
    },
    async (request, reply) => reply.code(201).send(await cook(request, deps)),
  );
}

function changeRoutes(app: FastifyInstance, deps: ApiDeps): void {
  app.put(
    '/v1/job-recipes/:uuid',
    {
      schema: {
        tags,
        summary: 'Change a recipe; new payload or inputs are a new version',
        params: uuidParams,
        body: UpdateRecipeBody,
        response: { 200: Recipe },
      },
    },
    (request) => update(request, deps),
  );
  app.put(
    '/v1/job-recipes/:uuid/archive',
    {
      schema: {
        tags,
        summary: 'Archive a recipe: nobody cooks it any more',
        params: uuidParams,
        body: ArchiveRecipeBody,
        response: { 200: Recipe },
      },
    },
    (request) => archive(request, deps),
  );
  app.post(
    '/v1/job-recipes/:uuid/fork',
    {
      schema: {
        tags,
        summary: 'Copy a recipe into your account',
        params: uuidParams,
        body: ForkRecipeBody,
        response: { 201: Recipe },
      },
    },
    async (request, reply) => reply.code(201).send(await fork(request, deps)),
  );
}

async function create(request: FastifyRequest, deps: ApiDeps): Promise<Recipe> {
  const caller = callerOf(request);
  requirePermission(caller, 'recipes:write');
  const body = createCheck.parse(request.body);
  const content = { payload: body.payload, inputSchema: body.input_schema ?? [] };
  const visibility = body.visibility ?? 'PRIVATE';
  checkRecipeContent(content, visibility === 'PUBLIC');
  const id = deps.newId();
  return inTransaction(caller, deps, async (sql) => {
    await createRecipe(sql, deps.vault, {
      ...{ id, accountId: caller.accountId, name: body.name, visibility, forkedFrom: null, ...content },
      description: body.description || null,
      quickstartMd: body.quickstart_md || null,
      thumbnailUrl: body.thumbnail_url || null,
    });
    return requireView(sql, { id, caller, deps });
  });
}

async function list(request: FastifyRequest, deps: ApiDeps) {
  const caller = callerOf(request);
  requirePermission(caller, 'recipes:read');
  const query = parseListQuery(rawQueryOf(request), filters);
  const official = query.filters.find(({ column }) => column === 'is_official');
  const isOfficial = official?.kind === 'words' ? official.words.includes('true') : null;
  const stored = query.filters.filter((filter) => filter !== official);
  const isArchiveWanted = stored.some(({ column }) => column === 'p.visibility');
  const shown = { kind: 'words', column: 'p.visibility', words: ['PRIVATE', 'PUBLIC'] } as const;
  const result = await listRecipes(deps.database, deps.vault, {
    ...{ ...query, filters: isArchiveWanted ? stored : [...stored, shown] },
    ...{ accountId: caller.accountId, isOfficial },
  });
  return listOf(
    query,
    result,
    result.items.map((recipe) => recipeView(recipe, caller)),
  );
}

async function update(request: FastifyRequest, deps: ApiDeps): Promise<Recipe> {
  const caller = callerOf(request);
  requirePermission(caller, 'recipes:write');
  const id = uuidOf(request, 'recipe');
  const body = updateCheck.parse(request.body);
  return inTransaction(caller, deps, async (sql) => {
    const recipe = await lockOwn(sql, { id, caller, deps });
    if (recipe.visibility === 'ARCHIVED')
      throw new ApiError('conflict', 'This recipe is archived; fork it to go on with it.');
    const visibility = body.visibility ?? recipe.visibility;
    const content = {
      payload: body.payload ?? recipe.payload,
      inputSchema: body.input_schema === undefined ? recipe.inputSchema : (body.input_schema ?? []),
    };
    checkRecipeContent(content, visibility === 'PUBLIC');
    const isNew = body.payload !== undefined || body.input_schema !== undefined;
    await updateRecipe(sql, deps.vault, {
      id,
      visibility,
      ...(body.name === undefined ? {} : { name: body.name }),
      ...(body.description === undefined ? {} : { description: body.description || null }),
      ...(body.quickstart_md === undefined ? {} : { quickstartMd: body.quickstart_md || null }),
      ...(body.thumbnail_url === undefined ? {} : { thumbnailUrl: body.thumbnail_url || null }),
      ...(isNew ? { content } : {}),
    });
    return requireView(sql, { id, caller, deps });
  });
}

async function archive(request: FastifyRequest, deps: ApiDeps): Promise<Recipe> {
  const caller = callerOf(request);
  requirePermission(caller, 'recipes:write');
  const id = uuidOf(request, 'recipe');
  archiveCheck.parse(request.body ?? {});
  return inTransaction(caller, deps, async (sql) => {
    await lockOwn(sql, { id, caller, deps });
    await updateRecipe(sql, deps.vault, { id, visibility: 'ARCHIVED' });
    return requireView(sql, { id, caller, deps });
  });
}

async function fork(request: FastifyRequest, deps: ApiDeps): Promise<Recipe> {
  const caller = callerOf(request);
  requirePermission(caller, 'recipes:write');
  const source = await requireRecipe(request, caller, deps);
  const body = forkCheck.parse(request.body ?? {});
  const id = deps.newId();
  return inTransaction(caller, deps, async (sql) => {
    await createRecipe(sql, deps.vault, {
      ...source,
      ...{ id, accountId: caller.accountId, visibility: 'PRIVATE', forkedFrom: source.id },
      name: body.name ?? source.name,
    });
    return requireView(sql, { id, caller, deps });
  });
}

/** Exactly what POST /v1/jobs makes of the filled body, with a word on where it came from. */
async function cook(request: FastifyRequest, deps: JobDeps): Promise<Job> {
  const caller = callerOf(request);
  requirePermission(caller, 'jobs:create');
  requirePermission(caller, 'recipes:read');
  const recipe = await requireRecipe(request, caller, deps);
  const made = await findRepeated(request, recipe.id, deps);
  if (made !== null) return made;
  if (recipe.visibility === 'ARCHIVED')
    throw new ApiError(
      'conflict',
      'This recipe is archived and is not cooked any more; fork it, or use another.',
    );
  const wanted = readCooked(recipe, request.body);
  if (wanted.spec.priority > 0) requirePermission(caller, 'jobs:prioritize');
  const source = { recipeId: recipe.id, version: recipe.version };
  const job = await createJob(request, { ...wanted, source }, deps);
  await noteRecipeUse(deps.database, recipe.id);
  return job;
}

async function requireRecipe(request: FastifyRequest, caller: Caller, deps: ApiDeps): Promise<RecipeRecord> {
  const id = uuidOf(request, 'recipe');
  const recipe = await getRecipe(deps.database, deps.vault, { id, accountId: caller.accountId });
  if (recipe === null) throw notFound('recipe');
  return recipe;
}

interface OneRecipe {
  id: string;
  caller: Caller;
  deps: ApiDeps;
}

async function lockOwn(sql: Sql, { id, caller, deps }: OneRecipe): Promise<RecipeRecord> {
  const recipe = await lockRecipe(sql, deps.vault, { id, accountId: caller.accountId });
  if (recipe === null) throw notFound('recipe');
  if (recipe.accountId !== caller.accountId)
    throw new ApiError('permission_denied', 'This recipe is not yours; fork it to change the copy.');
  return recipe;
}

async function requireView(sql: Sql, { id, caller, deps }: OneRecipe): Promise<Recipe> {
  const recipe = await getRecipe(sql, deps.vault, { id, accountId: caller.accountId });
  if (recipe === null) throw notFound('recipe');
  return recipeView(recipe, caller);
}

function inTransaction<T>(caller: Caller, deps: ApiDeps, work: (sql: Sql) => Promise<T>): Promise<T> {
  return deps.database.transaction(async (sql) => {
    if (!(await claimNonce(sql, caller.nonce.keyId, caller.nonce.value))) throw nonceReused();
    return work(sql);
  });
}

function recipeView(recipe: RecipeRecord, { accountId }: Caller): Recipe {
  return {
    object: 'job_recipe',
    uuid: recipe.id,
    name: recipe.name,
    description: recipe.description,
    visibility: recipe.visibility,
    version: recipe.version,
    payload: maskPayload(recipe.payload),
    input_schema: recipe.inputSchema.map(toShownInput),
    is_official: recipe.accountId === null,
    is_owner: recipe.accountId === accountId,
    forked_from_recipe_uuid: recipe.forkedFrom,
    last_used_at: nullableTimestamp(recipe.lastUsedAtMs),
    quickstart_md: recipe.quickstartMd,
    thumbnail_url: recipe.thumbnailUrl,
    created_at: timestamp(recipe.createdAtMs),
    updated_at: timestamp(recipe.updatedAtMs),
  };
}
