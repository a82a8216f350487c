// What is on the page, and how it shows a task.
import type { Task } from './countdown';

const form = find('form');
const button = find('button');
const complaint = find<HTMLElement>('[role=alert]');
const lost = find<HTMLElement>('[role=status]');
const card = find('article');
const title = find('h2');
const status = find<HTMLElement>('.status');
const bar = find('progress');
const account = find<HTMLElement>('article p');

/** Calls back whenever somebody presses Start. */
export function onStart(listener: (title: string, steps: number) => Promise<void>): void {
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const fields = new FormData(form);
    button.disabled = true;
    await listener(String(fields.get('title')), Number(fields.get('steps')));
    button.disabled = false;
  });
}

export function showTask(task: Task): void {
  card.hidden = false;
  title.textContent = task.title;
  status.textContent = status.dataset.status = task.status;
  bar.value = task.status === 'COMPLETED' ? 1 : (task.progress?.fraction ?? 0);
  account.textContent = accountOf(task);
}

function accountOf({ result, failure, progress }: Task): string {
  if (result?.__typename === 'CountdownResult') return `Took ${result.steps} steps.`;
  return failure?.message ?? progress?.message ?? '';
}

export function showComplaint(message: string): void {
  complaint.textContent = message;
  complaint.hidden = message === '';
}

export function showLost(isLost: boolean): void {
  lost.hidden = !isLost;
}

function find<Name extends keyof HTMLElementTagNameMap>(selector: Name): HTMLElementTagNameMap[Name];
function find<Kind extends HTMLElement>(selector: string): Kind;
function find(selector: string): HTMLElement {
  const found = document.querySelector<HTMLElement>(selector);
  if (!found) throw new Error(`The page has no ${selector}.`);
  return found;
}
