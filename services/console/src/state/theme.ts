// Light, dark, or as the system says. A choice is kept in this browser.

import { useEffect, useState } from 'preact/hooks';

export type Theme = 'system' | 'light' | 'dark';

const key = 'pganalytics-theme';
const listeners = new Set<() => void>();

export function theme(): Theme {
  const kept = localStorage.getItem(key);
  return kept === 'light' || kept === 'dark' ? kept : 'system';
}

const dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = (): boolean => theme() === 'dark' || (theme() === 'system' && dark.matches);

// The style sheet knows `light` and `dark`; which of them the system says is decided here.
function show() {
  document.documentElement.dataset.theme = isDark() ? 'dark' : 'light';
  for (const listener of listeners) listener();
}

dark.addEventListener('change', show);

export function applyTheme(next: Theme) {
  if (next === 'system') localStorage.removeItem(key);
  else localStorage.setItem(key, next);
  show();
}

// Whether the page is dark now: what is drawn on a canvas has to know.
export function useDark(): boolean {
  const [is, set] = useState(isDark());
  useEffect(() => {
    const listener = () => set(isDark());
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return is;
}
