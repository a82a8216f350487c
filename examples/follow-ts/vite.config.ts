import { defineConfig, loadEnv } from 'vite';

export default defineConfig(({ mode }) => {
  const { TASKQL_URL } = loadEnv(mode, '.', 'TASKQL_');
  return {
    // The page and the API share an origin, as they would behind a load balancer: there is no CORS to set up.
    server: { proxy: { '/graphql': { target: TASKQL_URL ?? 'http://127.0.0.1:8000', ws: true } } },
  };
});
