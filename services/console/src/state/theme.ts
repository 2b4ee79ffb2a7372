// Light, dark, or as the system says. A choice is kept in this browser.

import { useEffect, useState } from 'preact/hooks';

export type Theme = 'system' | 'light' | 'dark';

const key = 'pganalytics-theme';
const listeners = new Set<() => void>();

export function theme(): Theme {
  const kept = localStorage.getItem(key);
  return kept === 'light' || kept === 'dark' ? kept : 'system';
}

export function applyTheme(next: Theme) {
  if (next === 'system') {
    localStorage.removeItem(key);
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem(key, next);
    document.documentElement.dataset.theme = next;
  }
  for (const listener of listeners) listener();
}

const dark = matchMedia('(prefers-color-scheme: dark)');
dark.addEventListener('change', () => {
  for (const listener of listeners) listener();
});

// Whether the page is dark now: what is drawn on a canvas has to know.
export function useDark(): boolean {
  const now = () => theme() === 'dark' || (theme() === 'system' && dark.matches);
  const [is, set] = useState(now());
  useEffect(() => {
    const listener = () => set(now());
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return is;
}
