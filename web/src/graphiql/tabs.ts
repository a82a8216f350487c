import type { TabsState } from '@graphiql/react';

type TabState = TabsState['tabs'][number];

/** What the page starts with: the way of a task from its creation to its end, each step ready to run. */
const CREATE = `# Asks for a task: press play.
# Then watch it, in the tab "Watch".
mutation Create {
  createTask(
    input: {
      title: "Hello"
      work: { countdown: { steps: 10 } }
    }
  ) {
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

const WATCH = `# Follows a task to its end: press play.
# "id" below is the task created last.
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
      ... on CountdownResult {
        steps
      }
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
