// A panel with one line chart of a few columns.

import { useRef } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { Series } from '../api/generated.ts';
import { Chart, type Line, type Marker } from '../charts/chart.tsx';
import { colorAt, otherColor } from '../charts/colors.ts';
import { covered, keepLargest, stepOf, toColumns } from '../charts/gaps.ts';
import type { Page } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { percent } from '../state/units.ts';
import { setRange } from '../state/url.ts';
import { chartData, Panel } from '../ui/panel.tsx';
import { Empty } from '../ui/states.tsx';

export interface Part {
  label: string;
  question: ask.SeriesQuestion;
  color?: string;
  // Names a series where the question keeps labels apart.
  nameOf?: (series: Series) => string;
  colorOf?: (series: Series) => string | undefined;
  // Place among the lines; as the answer has it where absent.
  orderOf?: (series: Series) => number;
}

interface Props {
  page: Page;
  title: string;
  unit: string;
  // At most two; hooks are called for each in a fixed order.
  parts: readonly [Part] | readonly [Part, Part];
  step: number | undefined;
  sync?: string;
  kind?: 'line' | 'area';
  height?: number;
  // Multiplies every value: for units of the axis.
  scale?: number;
  markers?: readonly Marker[];
  // A level drawn across.
  level?: { value: number; label: string };
  // Draws the first part as a share of both.
  share?: boolean;
  empty?: string;
}

const shownLines = 8;

export function LineChart({
  page,
  title,
  unit,
  parts,
  step,
  sync,
  kind = 'line',
  height = 140,
  scale = 1,
  markers,
  level,
  share = false,
  empty,
}: Props) {
  const { view, range, zone } = page;
  const canvas = useRef<HTMLCanvasElement | null>(null);
  const [one, two] = parts;
  const firstAsk = step ? ask.series(range, { ...one.question, step }) : undefined;
  const secondAsk = step && two ? ask.series(range, { ...two.question, step }) : undefined;
  const first = useAsk(firstAsk, view.now);
  const second = useAsk(secondAsk, view.now);
  const ready = first.data !== undefined && (!two || second.data !== undefined);
  const all = [
    ...(first.data ?? []).map((series) => ({ series, part: one })),
    ...(two ? (second.data ?? []).map((series) => ({ series, part: two })) : []),
  ];
  const columns = toColumns(
    all.map((each) => each.series),
    stepOf(
      all.map((each) => each.series),
      step ?? 60,
    ),
    range,
  );
  const values =
    scale === 1
      ? columns.values
      : columns.values.map((row) => row.map((value) => (value === null ? null : value * scale)));
  const drawn = share ? all.slice(0, 1) : all;
  const { kept, other, others } = keepLargest(
    drawn.map((of, i) => ({ of, row: (share ? shareOf(values[0], values[1]) : values[i]) ?? [] })),
    columns.coverage,
    shownLines,
  );
  // In the order of the answer, so that colours stay when the order by size changes.
  const inOrder = kept.sort(
    (a, b) =>
      (a.of.part.orderOf?.(a.of.series) ?? 0) - (b.of.part.orderOf?.(b.of.series) ?? 0) ||
      all.indexOf(a.of) - all.indexOf(b.of),
  );
  const lines: Line[] = inOrder.map(({ of, row }, i) => ({
    label: of.part.nameOf?.(of.series) ?? of.part.label,
    color: of.part.colorOf?.(of.series) ?? of.part.color ?? colorAt(i),
    values: row,
  }));
  if (other) lines.push({ label: `${others} others`, color: otherColor, values: other });
  const known = covered(columns, range);
  return (
    <Panel
      title={title}
      note={ready && known > 0 && known < 0.995 ? `${percent(known)} covered` : undefined}
      asks={[firstAsk, secondAsk]}
      data={() => chartData(columns, lines, unit)}
      canvas={canvas}
      error={first.error ?? second.error}
      loading={first.loading || second.loading}
      skeleton={ready ? undefined : height + 40}
    >
      {lines.length === 0 ? (
        <Empty title={empty ?? 'No data in this range.'} />
      ) : (
        <Chart
          title={title}
          kind={kind}
          columns={columns}
          lines={lines}
          unit={unit}
          range={range}
          zone={zone}
          height={height}
          {...(sync ? { sync } : {})}
          {...(markers ? { markers } : {})}
          {...(level ? { level } : {})}
          onZoom={setRange}
          onCanvas={(drawn) => {
            canvas.current = drawn;
          }}
        />
      )}
    </Panel>
  );
}

// Nothing of nothing is not known.
function shareOf(part: readonly (number | null)[] = [], rest: readonly (number | null)[] = []): (number | null)[] {
  return part.map((value, i) => {
    const other = rest[i] ?? null;
    return value === null || other === null || value + other === 0 ? null : value / (value + other);
  });
}
