import { useState } from 'react';
import { useIsLost } from './connection';
import { CountdownForm } from './countdown-form';
import { TaskCard } from './task-card';

/** Create a task, follow it. Its id is in the address, so that a reloaded page goes on with it. */
export function Page() {
  const [id, setId] = useState(location.hash.slice(1));
  const isLost = useIsLost();

  function show(created: string) {
    history.replaceState(null, '', `#${created}`);
    setId(created);
  }

  return (
    <>
      <h1>Count down</h1>
      <CountdownForm onCreated={show} />
      {isLost && <p role="status">The connection is lost; trying again …</p>}
      {id && <TaskCard key={id} id={id} />}
    </>
  );
}
