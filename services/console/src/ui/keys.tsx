import { useEffect, useRef } from 'preact/hooks';
import { presets, zoomOut } from '../state/time.ts';
import { change, go, hrefTo, rangeOf, refreshNow, setRange, useView } from '../state/url.ts';
import { Dialog } from './panel.tsx';

const keys: readonly [string, string][] = [
  ['?', 'this list'],
  ['/', 'search sources and statements'],
  ['r', 'refresh now'],
  ['-', 'zoom out'],
  ['1 … 6', 'range: 15 minutes to 30 days'],
  ['u', 'UTC or local time'],
  ['g f', 'fleet'],
  ['g c', 'collectors'],
  ['g s', 'storage'],
  ['Esc', 'close what is open'],
];

export function useKeys({ onHelp, onSearch }: { onHelp: () => void; onSearch: () => void }) {
  const view = useView();
  const going = useRef(0);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
      if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
      const went = Date.now() - going.current < 1000;
      going.current = 0;
      if (went) {
        const place = { f: '/', c: '/collectors', s: '/storage' }[event.key];
        if (place) go(hrefTo(place));
        return;
      }
      if (event.key === '?') onHelp();
      else if (event.key === '/') onSearch();
      else if (event.key === 'r') refreshNow();
      else if (event.key === '-') setRange(zoomOut(rangeOf(view), Date.now()));
      else if (event.key === 'u') change({ tz: view.query.get('tz') === 'utc' ? undefined : 'utc' }, 'replace');
      else if (event.key === 'g') going.current = Date.now();
      else if (/^[1-6]$/.test(event.key)) change({ from: presets[Number(event.key) - 1]?.from, to: undefined });
      else return;
      event.preventDefault();
    };
    document.addEventListener('keydown', press);
    return () => document.removeEventListener('keydown', press);
  }, [view]);
}

export function KeyHelp({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose}>
      <dl class="keys">
        {keys.map(([key, what]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <p class="muted">Drag over a chart to zoom in. Click a heading to sort. The back button undoes each step.</p>
    </Dialog>
  );
}
