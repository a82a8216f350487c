// Many clients that watch one task, each over a connection of its own: `node fleet.js URL ID COUNT`.
import { createClient } from 'graphql-ws';
import { resuming, WATCH } from './watch.js';

const [url, id, count] = process.argv.slice(2);

for (let number = 0; number < Number(count); number++) {
  const say = (what) => console.log(JSON.stringify({ client: number, ...what }));
  const client = createClient({ url: `${url.replace('http', 'ws')}/graphql`, shouldRetry: () => true });
  resuming(client).subscribe(
    { query: WATCH, variables: { id } },
    {
      next: ({ data, errors }) => say({ state: data?.taskStatus, errors }),
      error: (error) => say({ errors: [String(error?.message ?? error?.reason ?? error)] }),
      complete: () => say({ complete: true }),
    },
  );
}
