import { render } from 'preact';
import { App } from './app.tsx';
import './style.css';
import { startSession } from './api/session.ts';
import { applyTheme, theme } from './state/theme.ts';

applyTheme(theme());
void startSession().catch(() => undefined);
const root = document.getElementById('app');
if (root) render(<App />, root);
