import { ApolloClient, gql, InMemoryCache } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { createClient } from 'graphql-ws';
import { resuming, WATCH } from './watch.js';

const [url, id] = process.argv.slice(2);

const live = resuming(createClient({ url: `${url.replace('http', 'ws')}/graphql`, shouldRetry: () => true }));

const client = new ApolloClient({ link: new GraphQLWsLink(live), cache: new InMemoryCache() });

client.subscribe({ query: gql(WATCH), variables: { id } }).subscribe({
  next: ({ data, error }) => console.log(JSON.stringify(data?.taskStatus ?? error)),
  error: (error) => console.error(error),
  complete: () => console.log('complete'),
});
