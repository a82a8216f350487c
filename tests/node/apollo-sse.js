import { ApolloClient, ApolloLink, gql, InMemoryCache } from '@apollo/client';
import { print } from 'graphql';
import { createClient } from 'graphql-sse';
import { Observable } from 'rxjs';
import { resuming, WATCH } from './watch.js';

const [url, id] = process.argv.slice(2);

const live = resuming(createClient({ url: `${url}/graphql` }));

const link = new ApolloLink(
  ({ query, variables, operationName }) =>
    new Observable((sink) => live.subscribe({ query: print(query), variables, operationName }, sink)),
);

const client = new ApolloClient({ link, cache: new InMemoryCache() });

client.subscribe({ query: gql(WATCH), variables: { id } }).subscribe({
  next: ({ data, error }) => console.log(JSON.stringify(data?.taskStatus ?? error)),
  error: (error) => console.error(error),
  complete: () => console.log('complete'),
});
