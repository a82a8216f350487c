import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit';

/** The endpoint is where the page is: below whatever host and path a proxy gives it. */
const ENDPOINT = location.origin + location.pathname;

/**
 * Queries and mutations go over HTTP, subscriptions over a WebSocket each, which takes the tab's headers along
 * as connection parameters. `onCreated` is told the id of each task that an operation has created.
 */
export function createFetcher(onCreated: (id: string) => void): Fetcher {
  const fetcher = createGraphiQLFetcher({
    url: ENDPOINT,
    subscriptionUrl: ENDPOINT.replace(/^http/, 'ws'),
    enableIncrementalDelivery: false,
  });
  return async (params, options) => {
    const answer = await fetcher(params, options);
    const id = createdId(answer);
    if (id) onCreated(id);
    return answer;
  };
}

/** The newest task's id; nothing where there is none, or where the API wants to know first who asks. */
export async function newestId(fetcher: Fetcher): Promise<string | undefined> {
  const answer = await fetcher({ query: '{ tasks(first: 1) { nodes { id } } }' });
  return (answer as { data?: { tasks: { nodes: { id: string }[] } } | null }).data?.tasks.nodes[0]?.id;
}

function createdId(answer: unknown): string | undefined {
  return (answer as { data?: { createTask?: { task?: { id?: string } | null } } | null }).data?.createTask?.task?.id;
}
