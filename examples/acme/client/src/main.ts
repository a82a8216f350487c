// Fetches a page and summarises a table, and says in words what came of each.
import { createClient } from 'graphql-ws';
import {
  CreateDocument,
  type CreateMutation,
  type CreateTaskInput,
  FollowDocument,
  type FollowSubscription,
} from './generated/operations';

type Task = FollowSubscription['taskStatus'];

const client = createClient({ url: 'ws://localhost:8000/graphql' });

/** Asks for a task and follows it to its end. */
async function run(input: CreateTaskInput): Promise<string> {
  let task: Task | undefined;
  const variables = { id: await create(input) };
  for await (const { data } of client.iterate<FollowSubscription>({ query: FollowDocument.toString(), variables })) {
    task = data?.taskStatus;
  }
  if (!task) throw new Error('The API has not answered.');
  return outcome(task);
}

async function create(input: CreateTaskInput): Promise<string> {
  const query = CreateDocument.toString();
  for await (const { data } of client.iterate<CreateMutation>({ query, variables: { input } })) {
    if (data?.createTask.task) return data.createTask.task.id;
    throw new Error(data?.createTask.userErrors.map(({ field, message }) => `${field?.join('.')}: ${message}`).join());
  }
  throw new Error('The API has not answered.');
}

function outcome(task: Task): string {
  switch (task.result?.__typename) {
    case 'FetchResult':
      return `${task.result.url} is ${task.result.kind}, ${task.result.size} bytes`;
    case 'SummariseResult':
      return task.result.columns.map(({ name, numbers }) => `${name}: ${numbers?.mean.toFixed(2) ?? 'texts'}`).join();
    default:
      return why(task);
  }
}

function why({ failure, failureDetail }: Task): string {
  switch (failureDetail?.__typename) {
    case 'NotThere':
      return `${failureDetail.url} answered ${failureDetail.status}`;
    case 'NotCsv':
      return `line ${failureDetail.line}: ${failureDetail.message}`;
    default:
      return failure?.message ?? 'cancelled';
  }
}

console.log(await run({ title: 'Prices', work: { fetch: { url: 'http://localhost:8000/healthz', maxBytes: 1000 } } }));
console.log(await run({ title: 'Table', work: { summarise: { text: 'fruit;price\nplum;2', separator: 'SEMICOLON' } } }));
await client.dispose();
