import '../../page.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Provider } from 'urql';
import { client } from './client';
import { Page } from './page';

createRoot(document.querySelector('main')!).render(
  <StrictMode>
    <Provider value={client}>
      <Page />
    </Provider>
  </StrictMode>,
);
