import { render } from 'preact';
import { App } from './app.tsx';
import './style.css';
import { applyTheme, theme } from './state/theme.ts';

applyTheme(theme());
const root = document.getElementById('app');
if (root) render(<App />, root);
