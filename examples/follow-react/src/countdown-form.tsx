import { type FormEvent, useRef } from 'react';
import { useMutation } from 'urql';
import { CreateCountdownDocument } from './generated/operations';

interface Props {
  onCreated: (id: string) => void;
}

/** Asks for a task of the kind `countdown`. */
export function CountdownForm({ onCreated }: Props) {
  const [{ data, error, fetching }, create] = useMutation(CreateCountdownDocument);
  const pressed = useRef({ what: '', key: '' });
  const complaints = error ? [error] : (data?.createTask.userErrors ?? []);

  async function start(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    const title = String(fields.get('title'));
    const steps = Number(fields.get('steps'));
    const answer = await create({
      input: { title, work: { countdown: { steps } }, idempotencyKey: keyFor(`${steps} ${title}`) },
    });
    const task = answer.data?.createTask.task;
    if (task) {
      pressed.current = { what: '', key: '' };
      onCreated(task.id);
    }
  }

  /** The same key until there is an answer: pressed again after a lost one, Start makes no second task. */
  function keyFor(what: string): string {
    if (pressed.current.what !== what) pressed.current = { what, key: crypto.randomUUID() };
    return pressed.current.key;
  }

  return (
    <form onSubmit={start}>
      <label>
        Title <input name="title" defaultValue="Lift-off" required />
      </label>
      <label>
        Steps <input name="steps" type="number" defaultValue={10} required />
      </label>
      <button disabled={fetching}>Start</button>
      {complaints.map(({ message }) => (
        <p role="alert" key={message}>
          {message}
        </p>
      ))}
    </form>
  );
}
