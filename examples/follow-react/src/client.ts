// urql: mutations by fetch, subscriptions over the WebSocket.
import { Client, fetchExchange, subscriptionExchange } from 'urql';
import { connection } from './connection';

export const client = new Client({
  url: '/graphql',
  preferGetMethod: false,
  exchanges: [
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query = '', variables }) => ({
        subscribe: (sink) => ({ unsubscribe: connection.subscribe({ query, variables }, sink) }),
      }),
    }),
  ],
});
