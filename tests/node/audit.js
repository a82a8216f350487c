// graphql-http's audit of the server at a URL: what each of its checks found, one a line.
import { auditServer } from 'graphql-http';

const [url] = process.argv.slice(2);

for (const { id, name, status, reason = null } of await auditServer({ url: `${url}/graphql` })) {
  console.log(JSON.stringify({ id, name, status, reason }));
}
