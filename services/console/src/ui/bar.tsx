// The bar at the top: one range, zone and refresh for the whole page.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { Page } from '../state/page.ts';
import { dateTime, duration, fromInput, presets, toInput, zoneName, zoomOut } from '../state/time.ts';
import { change, isRelative, refreshChoices, refreshNow, setRange } from '../state/url.ts';

export function RangeBar({ page }: { page: Page }) {
  const { view, range, zone } = page;
  const from = view.query.get('from') ?? '-1h';
  const relative = isRelative(view);
  const [open, setOpen] = useState(false);
  return (
    <div class="bar" role="toolbar" aria-label="Range of time">
      <div class="segments" role="group" aria-label="Range">
        {presets.map((preset) => (
          <button
            key={preset.from}
            type="button"
            aria-pressed={relative && from === preset.from}
            onClick={() => change({ from: preset.from === '-1h' ? undefined : preset.from, to: undefined })}
          >
            {preset.label}
          </button>
        ))}
      </div>
      <button
        type="button"
        class={relative ? 'quiet' : 'quiet chosen'}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        {relative ? 'From … to' : `${dateTime(range.start, zone)} – ${dateTime(range.end, zone)}`}
      </button>
      <button type="button" class="quiet" onClick={() => setRange(zoomOut(range, Date.now()))} title="Zoom out (-)">
        Zoom out
      </button>
      <span class="space" />
      <span class="note wide">
        {dateTime(range.start, zone)} – {dateTime(range.end, zone)} · {duration(range.end - range.start)}
      </span>
      <label>
        <span class="hidden">Time zone</span>
        <select
          value={zone}
          onChange={(event) => change({ tz: event.currentTarget.value === 'utc' ? 'utc' : undefined }, 'replace')}
        >
          <option value="local">{zoneName('local') === 'UTC' ? 'Local (UTC)' : zoneName('local')}</option>
          <option value="utc">UTC</option>
        </select>
      </label>
      <label>
        <span class="hidden">Refresh</span>
        <select
          value={view.query.get('refresh') ?? ''}
          onChange={(event) => change({ refresh: event.currentTarget.value }, 'replace')}
          title={relative ? 'Refresh by itself' : 'A range that ends in the past stays as it is'}
        >
          {refreshChoices.map((choice) => (
            <option key={choice.value} value={choice.value}>
              refresh {choice.label}
            </option>
          ))}
        </select>
      </label>
      <button type="button" class="quiet" onClick={refreshNow} title="Refresh (r)">
        Refresh
      </button>
      {open && <Absolute page={page} onClose={() => setOpen(false)} />}
    </div>
  );
}

function Absolute({ page, onClose }: { page: Page; onClose: () => void }) {
  const { range, zone } = page;
  const [start, setStart] = useState(toInput(range.start, zone));
  const [end, setEnd] = useState(toInput(range.end, zone));
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);
  const from = fromInput(start, zone);
  const to = fromInput(end, zone);
  const good = from !== undefined && to !== undefined && from < to;
  return (
    <form
      class="absolute"
      onSubmit={(event) => {
        event.preventDefault();
        if (!good) return;
        setRange({ start: from, end: to });
        onClose();
      }}
      onKeyDown={(event) => {
        if (event.key === 'Escape') onClose();
      }}
    >
      <label>
        From
        <input
          ref={first}
          type="datetime-local"
          step="1"
          value={start}
          onInput={(event) => setStart(event.currentTarget.value)}
        />
      </label>
      <label>
        to
        <input type="datetime-local" step="1" value={end} onInput={(event) => setEnd(event.currentTarget.value)} />
      </label>
      <span class="note">{zoneName(zone)}</span>
      <button type="submit" class="primary" disabled={!good}>
        Show
      </button>
      {!good && <span class="error">The end must be after the start.</span>}
    </form>
  );
}
