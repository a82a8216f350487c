import { createClient } from 'graphql-sse';
import { resuming, WATCH } from './watch.js';

const [url, id] = process.argv.slice(2);

const client = resuming(createClient({ url: `${url}/graphql` }));

client.subscribe(
  { query: WATCH, variables: { id } },
  {
    next: ({ data, errors }) => console.log(JSON.stringify(data?.taskStatus ?? errors)),
    error: (error) => console.error(error),
    complete: () => console.log('complete'),
  },
);
