// The order matters: Monaco asks for its workers, and the page's style comes after GraphiQL's.
import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import './page.css';

import { createRoot } from 'react-dom/client';

import { Page } from './page';

createRoot(document.getElementById('root')!).render(<Page />);
