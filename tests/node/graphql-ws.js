import { createClient } from 'graphql-ws';
import { resuming, WATCH } from './watch.js';

const [url, id] = process.argv.slice(2);

const client = resuming(
  createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    // A connection that can't be made is an error before it is closed; by default that would be the end.
    shouldRetry: () => true,
  }),
);

client.subscribe(
  { query: WATCH, variables: { id } },
  {
    next: ({ data, errors }) => console.log(JSON.stringify(data?.taskStatus ?? errors)),
    error: (error) => console.error(error),
    complete: () => console.log('complete'),
  },
);
