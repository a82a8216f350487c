// The one WebSocket of this page: opened when something is asked, closed when nothing is, restored when lost.
import { createClient } from 'graphql-ws';

const IDLE_MS = 3_000;
const PING_EVERY_MS = 10_000;
const PONG_WITHIN_MS = 5_000;
const LONGEST_WAIT_MS = 5_000;
const NORMAL_CLOSURE = 1000;

let pongIsLate: ReturnType<typeof setTimeout> | undefined;
let tell: (lost: boolean) => void = () => {};

/** Calls back when the connection is lost, and when it is back. */
export function onConnection(listener: typeof tell): void {
  tell = listener;
}

export const client = createClient({
  url: new URL('/graphql', location.href).href.replace('http', 'ws'),
  lazyCloseTimeout: IDLE_MS,
  retryAttempts: Infinity,
  // A connection that can't be made is an error before it is closed; by default that would be the end.
  shouldRetry: () => true,
  retryWait: (retries) => {
    // Each page waits another while: a thousand of them don't come back to a restarted API at once.
    const longest = Math.min(500 * 2 ** retries, LONGEST_WAIT_MS);
    return new Promise((resolve) => setTimeout(resolve, longest * (0.5 + Math.random() / 2)));
  },
  keepAlive: PING_EVERY_MS,
  on: {
    connected: () => tell(false),
    closed: (event) => {
      clearTimeout(pongIsLate);
      tell((event as CloseEvent).code !== NORMAL_CLOSURE);
    },
    // A network that has silently gone away shows in nothing but a pong that doesn't come.
    ping: (received) => {
      if (!received) pongIsLate = setTimeout(() => client.terminate(), PONG_WITHIN_MS);
    },
    pong: (received) => {
      if (received) clearTimeout(pongIsLate);
    },
  },
});
