// Calls actors through the engine: `node load.mjs ENDPOINT PREFIX ACTORS SECONDS CALLS_PER_SECOND`.
// Prints one JSON line: {"ok":N,"failed":N}.
import { createClient } from "rivetkit/client";

const [endpoint, prefix, actors, seconds, rate] = process.argv.slice(2);
const client = createClient(endpoint);
let ok = 0;
let failed = 0;
const until = Date.now() + Number(seconds) * 1000;
const open = new Set();
for (let i = 0; Date.now() < until; i++) {
  const call = client.counter
    .getOrCreate([`${prefix}-${i % Number(actors)}`])
    .add(1)
    .then(() => ok++, () => failed++)
    .finally(() => open.delete(call));
  open.add(call);
  await new Promise((resolve) => setTimeout(resolve, 1000 / Number(rate)));
}
const patience = new Promise((resolve) => setTimeout(resolve, 5000));
await Promise.race([Promise.all(open), patience]);
console.log(JSON.stringify({ ok, failed }));
process.exit(0);
