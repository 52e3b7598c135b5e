// Makes a job of a recipe, and says where it is served: cook.ts [RECIPE NAME] [INPUT=VALUE...]
import { clientFromEnvironment } from 'flotilla/sdk';

const [name = 'SSH box', ...given] = process.argv.slice(2);
const inputs = Object.fromEntries(given.map((pair) => pair.split(/=(.*)/s, 2)));
const client = clientFromEnvironment();

const { data } = await client.recipes.list({ filter: { name } });
const [recipe] = data;
if (recipe === undefined) throw new Error(`There is no recipe "${name}".`);
for (const { key, type, default_value } of recipe.input_schema)
  console.log(`  ${key}: ${type}, default ${default_value ?? 'none'}`);

const job = await client.recipes.cook(recipe.uuid, { inputs });
console.log(`job ${job.uuid} of ${recipe.name}, version ${recipe.version}`);

// A PERSISTENT job goes on until it is stopped: wait for its first event of running, not for its end.
for await (const { kind } of client.jobs.followEvents(job.uuid)) {
  console.log(kind);
  if (kind === 'running' || kind === 'assign_timeout') break;
}
const { endpoint_url, node_urls } = await client.jobs.get(job.uuid);
if (endpoint_url !== null) console.log(endpoint_url);
for (const { description, hostname, port } of node_urls) console.log(`${description}: ${hostname}:${port}`);
client.close();
