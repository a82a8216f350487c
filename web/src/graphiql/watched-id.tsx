import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import type { Storage } from '@graphiql/toolkit';
import { useEffect, useRef } from 'react';

import { watchesId } from './tabs';

/** A task to watch: one that was just created here, or the newest one that the page found when it was loaded. */
export interface Offer {
  id: string;
  created: boolean;
}

const FILLED = 'filled-id';

/**
 * Fills the variable `id` of a tab that watches, as soon as it is open, with the task on offer.
 *
 * Each offer is taken once, so an id that somebody types stays until another task is created; one that was
 * merely found replaces nothing but what was filled in here. Other variables are never touched.
 */
export function WatchedId({ offer, storage }: { offer: Offer | undefined; storage: Storage }) {
  const { updateActiveTabValues } = useGraphiQLActions();
  const { watching, editor } = useGraphiQL(({ tabs, activeTabIndex, variableEditor }) => ({
    watching: watchesId(tabs[activeTabIndex]),
    editor: variableEditor,
  }));
  const taken = useRef<Offer>(undefined);

  useEffect(() => {
    if (!watching || !editor || !offer || offer === taken.current) return;
    taken.current = offer;
    const variables = parse(editor.getValue());
    const ours = !variables?.id || variables.id === storage.getItem(FILLED);
    if (!variables || !(offer.created || ours)) return;
    const filled = JSON.stringify({ ...variables, id: offer.id }, null, 2);
    editor.setValue(filled);
    // GraphiQL would do so a moment later, perhaps to the tab that is open by then.
    updateActiveTabValues({ variables: filled });
    storage.setItem(FILLED, offer.id);
  }, [watching, editor, offer, storage, updateActiveTabValues]);

  return null;
}

/** Nothing for what is no JSON object (yet): somebody may be typing. */
function parse(text: string): Record<string, unknown> | undefined {
  try {
    const variables: unknown = JSON.parse(text.trim() || '{}');
    return isObject(variables) ? variables : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
