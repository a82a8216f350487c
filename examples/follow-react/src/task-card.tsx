import { useSubscription } from 'urql';
import { FollowTaskDocument, type FollowTaskSubscription } from './generated/operations';

type Task = FollowTaskSubscription['taskStatus'];

interface Props {
  id: string;
}

/** A task, live to its end. After a lost connection it starts with the current state: nothing is missed. */
export function TaskCard({ id }: Props) {
  const [{ data, error }] = useSubscription({ query: FollowTaskDocument, variables: { id } });
  if (error) return <p role="alert">{error.message}</p>;
  if (!data) return null;
  const task = data.taskStatus;
  return (
    <article>
      <header>
        <h2>{task.title}</h2>
        <span className="status" data-status={task.status}>
          {task.status}
        </span>
      </header>
      <progress value={task.status === 'COMPLETED' ? 1 : (task.progress?.fraction ?? 0)} />
      <p>{accountOf(task)}</p>
    </article>
  );
}

function accountOf({ result, failure, progress }: Task): string {
  if (result?.__typename === 'CountdownResult') return `Took ${result.steps} steps.`;
  return failure?.message ?? progress?.message ?? '';
}
