import { createLocalStorage } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { useEffect, useState } from 'react';

import { createFetcher, newestId } from './fetcher';
import { FIRST_TABS } from './tabs';
import { type Offer, WatchedId } from './watched-id';

/**
 * Tabs and settings are kept in the browser under a name of our own: another program's GraphiQL at the same
 * address keeps its own. The number rises when tabs from before would no longer be valid.
 */
const storage = createLocalStorage({ namespace: 'taskql-1' });

export function Page() {
  const [offer, setOffer] = useState<Offer>();
  const [fetcher] = useState(() => createFetcher((id) => setOffer({ id, created: true })));

  useEffect(() => {
    newestId(fetcher).then(
      (id) => id && setOffer((created) => created ?? { id, created: false }),
      () => undefined, // the page works without; the introspection shows what is wrong
    );
  }, [fetcher]);

  return (
    <GraphiQL
      fetcher={fetcher}
      storage={storage}
      defaultTabs={FIRST_TABS}
      defaultEditorToolsVisibility="variables"
    >
      <GraphiQL.Logo>TaskQL</GraphiQL.Logo>
      <WatchedId offer={offer} storage={storage} />
    </GraphiQL>
  );
}
