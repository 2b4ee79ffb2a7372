// One field over sources and the heavy statements of the range.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import { type Page, refOf, refOfId, sourceHref, statementHref, useSources } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { go } from '../state/url.ts';
import { Dialog } from './panel.tsx';
import { oneLine } from './sqltext.ts';

export function Search({ page, onClose }: { page: Page; onClose: () => void }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const sources = useSources().data?.sources ?? [];
  const top = useAsk(ask.top(page.range, { limit: 200 }), page.view.now);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (...texts: string[]) => words.every((word) => texts.some((one) => one.toLowerCase().includes(word)));
  const found = [
    ...sources
      .filter((source) => matches(source.name, source.address, source.group))
      .slice(0, 12)
      .map((source) => ({
        key: source.id,
        kind: source.kind,
        text: source.name,
        href: sourceHref(refOf(source, sources)),
      })),
    ...(words.length === 0 ? [] : (top.data?.queries ?? []))
      .filter((query) => matches(query.query_text, query.query_id))
      .slice(0, 20)
      .map((query) => ({
        key: query.source_id + query.query_id + query.database_name + query.user_name,
        kind: `statement on ${query.source_name}`,
        text: oneLine(query.query_text) || query.query_id,
        href: statementHref(refOfId(query.source_id, sources), query.query_id),
      })),
  ];
  const open = (href: string | undefined) => {
    if (!href) return;
    onClose();
    go(href);
  };
  return (
    <Dialog title="Search" onClose={onClose}>
      <input
        class="search"
        type="search"
        value={text}
        placeholder="name of a source, word of a statement"
        aria-label="Search sources and statements"
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === 'ArrowDown') setAt(Math.min(at + 1, found.length - 1));
          else if (event.key === 'ArrowUp') setAt(Math.max(at - 1, 0));
          else if (event.key === 'Enter') open(found[at]?.href);
          else return;
          event.preventDefault();
        }}
      />
      <ul class="found">
        {found.map((one, i) => (
          <li key={one.key} class={i === at ? 'chosen' : ''}>
            <a
              href={one.href}
              onClick={(event) => {
                event.preventDefault();
                open(one.href);
              }}
            >
              <span class="found-text">{one.text}</span>
              <span class="note">{one.kind}</span>
            </a>
          </li>
        ))}
      </ul>
      {found.length === 0 && (
        <p class="muted">Nothing found among the sources and the 200 heaviest statements of the range.</p>
      )}
    </Dialog>
  );
}
