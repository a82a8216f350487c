import type { TabsState } from '@graphiql/react';

type TabState = TabsState['tabs'][number];

/** What the page starts with: a task's way from creation to its end, each step ready to run. */
const CREATE = `# Asks for a task: press play (Ctrl-Enter), then watch it in the tab "Watch".
# "work" takes one kind, with its input; see TaskWorkInput in the docs on the left.
mutation Create {
  createTask(input: {title: "Hello", work: {countdown: {steps: 10}}}) {
    task {
      id
      kind
      status
    }
    userErrors {
      code
      field
      message
    }
  }
}
`;

const LIST = `# Your tasks, the newest first.
query List {
  tasks(first: 10) {
    totalCount
    nodes {
      id
      title
      kind
      status
      createdAt
      finishedAt
    }
  }
}
`;

const WATCH = `# Follows a task live until it has ended: press play.
# The variable "id" below is filled with the task that was created last.
subscription Watch($id: ID!) {
  taskStatus(id: $id) {
    title
    status
    version
    progress {
      fraction
      message
    }
    result {
      __typename
    }
    failure {
      code
      message
    }
  }
}
`;

export const FIRST_TABS = [
  { query: CREATE },
  { query: LIST },
  { query: WATCH, variables: '{\n  "id": ""\n}' },
];

/** Whether this tab watches the task that its variable `id` names, whatever else was edited in it. */
export function watchesId(tab: TabState | undefined): boolean {
  return /\btaskStatus\s*\(\s*id:\s*\$id\b/.test(tab?.query ?? '');
}
