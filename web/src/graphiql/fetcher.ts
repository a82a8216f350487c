import { createGraphiQLFetcher, type Fetcher, type FetcherOpts, type FetcherParams } from '@graphiql/toolkit';
import { type DocumentNode, GraphQLError, parse } from 'graphql';

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
    const answer = await fetcher(...upToDate(params, options));
    const id = dataOf(answer)?.createTask?.task?.id;
    if (id) onCreated(id);
    return answer;
  };
}

/** The newest task's id; undefined where there is none, or where the API wants to know first who asks. */
export async function newestId(fetcher: Fetcher): Promise<string | undefined> {
  return dataOf(await fetcher({ query: '{ tasks(first: 1) { nodes { id } } }' }))?.tasks?.nodes[0]?.id;
}

/**
 * The request as its document has it: what GraphiQL knows of a document is a moment behind the text, so right
 * after a change of tabs it would still ask for the other tab's operation.
 */
function upToDate(params: FetcherParams, options?: FetcherOpts): [FetcherParams, FetcherOpts | undefined] {
  const documentAST = parsed(params.query);
  if (!documentAST) return [params, options];
  const names = operationNames(documentAST);
  const operationName = names.find((name) => name === params.operationName) ?? names[0];
  return [{ ...params, operationName }, { ...options, documentAST }];
}

/** Undefined for what is no GraphQL (yet): the API then says what is wrong with it. */
function parsed(query: string): DocumentNode | undefined {
  try {
    return parse(query);
  } catch (error) {
    if (error instanceof GraphQLError) return undefined;
    throw error;
  }
}

/** In the order of the document; undefined stands for an operation without a name. */
function operationNames({ definitions }: DocumentNode): (string | undefined)[] {
  return definitions.filter((each) => each.kind === 'OperationDefinition').map((each) => each.name?.value);
}

/** What of an answer matters here; undefined for a stream and for errors. */
function dataOf(answer: unknown) {
  interface Data {
    createTask?: { task: { id?: string } | null } | null;
    tasks?: { nodes: { id: string }[] };
  }
  return (answer as { data?: Data | null }).data;
}
