// Create a task, follow it. Its id is in the address, so that a reloaded page goes on with it.
import '../../page.css';
import { onConnection } from './connection';
import { createCountdown, explain, follow } from './countdown';
import { onStart, showComplaint, showLost, showTask } from './page';

let stop = () => {};

function complain(error: unknown): void {
  showComplaint(explain(error));
}

function show(id: string): void {
  stop();
  stop = follow(id, showTask, complain);
}

onConnection(showLost);
onStart(async (title, steps) => {
  showComplaint('');
  try {
    const id = await createCountdown(title, steps);
    history.replaceState(null, '', `#${id}`);
    show(id);
  } catch (error) {
    complain(error);
  }
});

const id = location.hash.slice(1);
if (id) show(id);
