import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import { onEnd, pipe, subscribe } from 'wonka';
import { resuming, WATCH } from './watch.js';

const [url, id] = process.argv.slice(2);

const live = resuming(createClient({ url: `${url.replace('http', 'ws')}/graphql`, shouldRetry: () => true }));

const client = new Client({
  url: `${url}/graphql`,
  preferGetMethod: false,
  exchanges: [
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query = '', variables }) => ({
        subscribe: (sink) => ({ unsubscribe: live.subscribe({ query, variables }, sink) }),
      }),
    }),
  ],
});

pipe(
  client.subscription(WATCH, { id }),
  onEnd(() => console.log('complete')),
  subscribe(({ data, error, hasNext }) => {
    if (error) console.error(error);
    // At the end urql shows the last state once more, to say that none will follow.
    else if (hasNext) console.log(JSON.stringify(data.taskStatus));
  }),
);
