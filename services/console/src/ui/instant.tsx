// An instant within the range, chosen by dragging or with the arrow keys; part of the address.

import type { Page } from '../state/page.ts';
import { dateTime, iso } from '../state/time.ts';
import { change } from '../state/url.ts';

export function chosenInstant(page: Page): number | undefined {
  const text = page.view.query.get('at');
  const at = text ? Date.parse(text) : Number.NaN;
  return at >= page.range.start && at <= page.range.end ? at : undefined;
}

export function choose(at: number | undefined) {
  change({ at: at === undefined ? undefined : iso(Math.floor(at / 1000) * 1000) }, 'replace');
}

export function InstantBar({ page, at, label, chosen }: { page: Page; at: number; label: string; chosen: boolean }) {
  const { range, zone } = page;
  const step = Math.max(1000, Math.floor((range.end - range.start) / 1000 / 1000) * 1000);
  return (
    <div class="instant">
      <label>
        <span class="note">at </span>
        <output class="strong tabular">{dateTime(at, zone)}</output>
        <input
          type="range"
          min={range.start}
          max={range.end}
          step={step}
          value={at}
          aria-label={label}
          aria-valuetext={dateTime(at, zone)}
          onChange={(event) => choose(Number(event.currentTarget.value))}
        />
      </label>
      <button type="button" class="quiet" onClick={() => choose(at - 1000)} title="A second earlier">
        −1 s
      </button>
      <button type="button" class="quiet" onClick={() => choose(at + 1000)} title="A second later">
        +1 s
      </button>
      {chosen && (
        <button type="button" class="quiet" onClick={() => choose(undefined)}>
          By itself
        </button>
      )}
    </div>
  );
}
