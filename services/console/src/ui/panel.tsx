// A titled part of a page: its figure, and behind one button how to take the numbers out: CSV, PNG, a table, the API.

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Ask, curlOf } from '../api/asks.ts';
import type { ApiError } from '../api/client.ts';
import { type Cell, fileName, save, toCsv } from './csv.ts';
import { ErrorState } from './states.tsx';

export interface TableData {
  header: string[];
  rows: Cell[][];
}

interface PanelProps {
  title: string;
  // Small text after the title: unit, coverage, what was left out.
  note?: ComponentChildren;
  // Controls of this panel alone.
  tools?: ComponentChildren;
  asks?: readonly (Ask<unknown> | undefined)[];
  data?: (() => TableData) | undefined;
  canvas?: { current: HTMLCanvasElement | null };
  error?: ApiError | undefined;
  loading?: boolean;
  // Nothing to show yet: a skeleton of this height stands in.
  skeleton?: number | undefined;
  children?: ComponentChildren;
}

export function Panel(props: PanelProps) {
  const [open, setOpen] = useState<'api' | 'table' | undefined>();
  const asks = (props.asks ?? []).filter((ask) => ask !== undefined);
  return (
    <section
      class={`panel${props.loading ? ' loading' : ''}`}
      aria-label={props.title}
      aria-busy={props.loading ?? false}
    >
      <header>
        <h2>{props.title}</h2>
        {props.note && <span class="note">{props.note}</span>}
        <span class="space" />
        {props.tools}
        {(props.data || asks.length > 0) && (
          <Menu label={`Numbers of ${props.title}`}>
            {props.data && (
              <button type="button" role="menuitem" onClick={() => saveCsv(props)}>
                Download CSV
              </button>
            )}
            {props.canvas && (
              <button type="button" role="menuitem" onClick={() => savePng(props)}>
                Download PNG
              </button>
            )}
            {props.data && props.canvas && (
              <button type="button" role="menuitem" onClick={() => setOpen('table')}>
                Show as table
              </button>
            )}
            {asks.length > 0 && (
              <button type="button" role="menuitem" onClick={() => setOpen('api')}>
                By API
              </button>
            )}
          </Menu>
        )}
      </header>
      {props.error ? (
        <ErrorState error={props.error} />
      ) : props.skeleton ? (
        <Skeleton height={props.skeleton} />
      ) : (
        props.children
      )}
      {open === 'api' && <ByApi title={props.title} asks={asks} onClose={() => setOpen(undefined)} />}
      {open === 'table' && props.data && (
        <Dialog title={props.title} onClose={() => setOpen(undefined)}>
          <PlainTable data={props.data()} />
        </Dialog>
      )}
    </section>
  );
}

export function Skeleton({ height }: { height: number }) {
  return <div class="skeleton" style={{ height: `${height}px` }} aria-hidden="true" />;
}

function saveCsv(props: PanelProps) {
  const data = props.data?.();
  if (data) save(fileName(props.title, 'csv'), new Blob([toCsv(data.header, data.rows)], { type: 'text/csv' }));
}

function savePng(props: PanelProps) {
  props.canvas?.current?.toBlob((blob) => {
    if (blob) save(fileName(props.title, 'png'), blob);
  });
}

function PlainTable({ data }: { data: TableData }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Table of the figures">
      <table class="table">
        <thead>
          <tr>
            {data.header.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {data.rows.map((row, i) => (
            <tr key={i}>
              {row.map((cell, j) => (
                <td key={j} class={typeof cell === 'number' ? 'num' : ''}>
                  {cell === null || cell === undefined ? 'unknown' : String(cell)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Menu({ label, children, text }: { label: string; children: ComponentChildren; text?: string }) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!open) return;
    const close = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === 'Escape' : !root.current?.contains(event.target as Node))
        setOpen(false);
    };
    document.addEventListener('pointerdown', close);
    document.addEventListener('keydown', close);
    root.current?.querySelector<HTMLElement>('[role=menuitem]')?.focus();
    return () => {
      document.removeEventListener('pointerdown', close);
      document.removeEventListener('keydown', close);
    };
  }, [open]);
  const move = (event: KeyboardEvent) => {
    const items = [...(root.current?.querySelectorAll<HTMLElement>('[role=menuitem]') ?? [])];
    const at = items.indexOf(document.activeElement as HTMLElement);
    const next = event.key === 'ArrowDown' ? at + 1 : event.key === 'ArrowUp' ? at - 1 : undefined;
    if (next === undefined || items.length === 0) return;
    event.preventDefault();
    items[(next + items.length) % items.length]?.focus();
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: arrow keys are for the items inside.
    <div class="menu" ref={root} onKeyDown={move}>
      <button
        type="button"
        class="quiet"
        aria-haspopup="menu"
        aria-expanded={open}
        aria-label={text ? undefined : label}
        title={label}
        onClick={() => setOpen(!open)}
      >
        {text ?? '⋯'}
      </button>
      {open && (
        // A choice closes the menu, by the mouse and by the keyboard alike.
        <div
          class="menu-items"
          role="menu"
          aria-label={label}
          onClick={() => setOpen(false)}
          onKeyDown={() => undefined}
        >
          {children}
        </div>
      )}
    </div>
  );
}

export function Dialog({
  title,
  onClose,
  children,
}: {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
    // The browser would take the button that closes.
    element.current?.querySelector<HTMLElement>('input, select')?.focus();
  }, []);
  return (
    <dialog ref={element} class="dialog" aria-label={title} onClose={onClose}>
      <header>
        <h2>{title}</h2>
        <span class="space" />
        <button type="button" class="quiet" onClick={() => element.current?.close()} aria-label="Close">
          ✕
        </button>
      </header>
      {children}
    </dialog>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  return (
    <div class="copy">
      <pre tabIndex={0} role="region" aria-label={label}>
        {text}
      </pre>
      <button
        type="button"
        onClick={() => {
          navigator.clipboard?.writeText(text).then(() => {
            setDone(true);
            setTimeout(() => setDone(false), 2000);
          });
        }}
      >
        {done ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}

function ByApi({ title, asks, onClose }: { title: string; asks: readonly Ask<unknown>[]; onClose: () => void }) {
  return (
    <Dialog title={`${title}, by API`} onClose={onClose}>
      <p class="muted">
        The same figures for a script. TOKEN is a token of yours: <code>pgactl tokens create NAME</code>.
      </p>
      {asks.map((ask) => (
        <div key={ask.key} class="by-api">
          <Copy text={curlOf(ask, location.origin)} label="curl" />
          {ask.pgactl && <Copy text={ask.pgactl} label="pgactl" />}
        </div>
      ))}
    </Dialog>
  );
}

// Rows of a chart for CSV: one a bucket.
export function chartData(
  columns: { x: number[]; coverage: number[]; step: number },
  lines: readonly { label: string; values: (number | null)[] }[],
  unit: string,
): TableData {
  return {
    header: ['time', ...lines.map((line) => (unit ? `${line.label} (${unit})` : line.label)), 'covered'],
    rows: columns.x.map((time, i) => [
      new Date(time * 1000).toISOString(),
      ...lines.map((line) => line.values[i] ?? null),
      columns.coverage[i] ?? 0,
    ]),
  };
}
