import { defineConfig } from 'vite';

export default defineConfig({
  // Relative addresses: the pages work below any path that a proxy gives the API.
  base: './',
  build: {
    rolldownOptions: { input: 'graphiql.html' },
    // An inlined asset would need an exception in the content security policy.
    assetsInlineLimit: 0,
    // Monaco is one large library; splitting it further saves nobody a byte.
    chunkSizeWarningLimit: 5_000,
    // Whoever passes the bundle on passes these on with it.
    license: { fileName: 'licenses.md' },
  },
});
