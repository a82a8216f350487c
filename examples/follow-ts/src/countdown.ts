// A task of the kind `countdown`: how to ask for one, and how to follow it to its end.
import { client } from './connection';
import {
  CreateCountdownDocument,
  type CreateCountdownMutation,
  FollowTaskDocument,
  type FollowTaskSubscription,
  type FollowTaskSubscriptionVariables,
} from './generated/operations';

export type Task = FollowTaskSubscription['taskStatus'];

/** The id of a new task. graphql-ws asks again after a lost connection: the key makes that safe. */
export async function createCountdown(title: string, steps: number): Promise<string> {
  const input = { title, work: { countdown: { steps } }, idempotencyKey: crypto.randomUUID() };
  const query = CreateCountdownDocument.toString();
  for await (const { data, errors } of client.iterate<CreateCountdownMutation>({ query, variables: { input } })) {
    if (!data) throw errors;
    const { task, userErrors } = data.createTask;
    if (!task) throw userErrors;
    return task.id;
  }
  throw new Error('The API has not answered.');
}

/** Tells of each state of the task until it is terminal. The answer stops it. */
export function follow(id: string, onTask: (task: Task) => void, onError: (error: unknown) => void): () => void {
  // Sent again, as they are by then, when graphql-ws subscribes again after a lost connection.
  const variables: FollowTaskSubscriptionVariables = { id };
  const query = FollowTaskDocument.toString();
  return client.subscribe<FollowTaskSubscription>(
    { query, variables },
    {
      next({ data, errors }) {
        if (!data) return onError(errors);
        variables.afterVersion = data.taskStatus.version;
        onTask(data.taskStatus);
      },
      error: onError,
      complete() {},
    },
  );
}

/** What went wrong, for people: userErrors and GraphQL errors alike have messages. */
export function explain(error: unknown): string {
  if (error instanceof CloseEvent) return `The API has closed the connection: ${error.reason || error.code}`;
  if (Array.isArray(error)) return error.map(({ message }) => message).join(' ');
  return error instanceof Error ? error.message : String(error);
}
