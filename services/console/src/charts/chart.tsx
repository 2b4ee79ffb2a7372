// One chart on a time axis: lines or stacked areas of buckets. A gap is hatched, a bucket that is known in part is drawn
// lighter, nothing is joined across what is not known. Dragging chooses a new range for the page.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useDark } from '../state/theme.ts';
import { dateTime, type Range, type Zone } from '../state/time.ts';
import { withUnit } from '../state/units.ts';
import { average, type Columns, gapsOf, partsOf, stack } from './gaps.ts';

export interface Line {
  label: string;
  color: string;
  values: (number | null)[];
  // What a click on its name does.
  onPick?: (() => void) | undefined;
}

export interface Marker {
  // Milliseconds.
  at: number;
  label: string;
}

interface ChartProps {
  title: string;
  kind: 'area' | 'line';
  columns: Columns;
  lines: Line[];
  unit: string;
  range: Range;
  zone: Zone;
  height?: number;
  // A level drawn across, such as the number of processors.
  level?: { value: number; label: string } | undefined;
  markers?: readonly Marker[];
  // Charts with the same key share the cursor.
  sync?: string;
  legend?: 'side' | 'below' | 'none';
  onZoom?: ((range: Range) => void) | undefined;
  onCanvas?: ((canvas: HTMLCanvasElement | null) => void) | undefined;
}

const css = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function hatching(context: CanvasRenderingContext2D, color: string): CanvasPattern | string {
  const size = 8 * devicePixelRatio;
  const tile = document.createElement('canvas');
  tile.width = size;
  tile.height = size;
  const pen = tile.getContext('2d');
  if (!pen) return color;
  pen.strokeStyle = color;
  pen.lineWidth = devicePixelRatio;
  pen.beginPath();
  for (const offset of [-size, 0, size]) {
    pen.moveTo(offset, size);
    pen.lineTo(offset + size, 0);
  }
  pen.stroke();
  return context.createPattern(tile, 'repeat') ?? color;
}

// What charts tell one another: where the cursor is, and not that a span was chosen in one of them.
const isMove = (type: string) => type === 'mousemove' || type === 'mouseleave';

// Steps of an axis of bytes.
const binarySteps = Array.from({ length: 60 }, (_, power) => 2 ** power);

// Values of an axis in its unit: one name of the unit for all of them.
function axisValues(unit: string) {
  return (_: uPlot, splits: number[]) => splits.map((value) => (value === 0 ? '0' : withUnit(value, unit)));
}

export function Chart(props: ChartProps) {
  const { columns, lines, unit, range, zone, kind, height = 160, legend = 'below' } = props;
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;
  const [at, setAt] = useState<number | undefined>();
  const dark = useDark();

  const drawn = useMemo(() => {
    const values =
      kind === 'area'
        ? stack(
            lines.map((line) => line.values),
            columns.coverage,
          )
        : lines.map((line) => line.values);
    // Lines stand in the middle of their buckets; areas fill them.
    const shift = kind === 'area' ? 0 : columns.step / 2;
    const x = columns.x.map((time) => time + shift);
    // The last bucket of an area has its own width.
    if (kind === 'area' && x.length > 0) {
      const end = (x.at(-1) as number) + columns.step;
      return { x: [...x, end], values: values.map((row) => [...row, row.at(-1) ?? null]) };
    }
    return { x, values };
  }, [columns, lines, kind]);

  const shape = JSON.stringify([
    lines.map((line) => [line.label, line.color]),
    unit,
    kind,
    height,
    props.level?.value,
    dark,
    zone,
  ]);

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const text = css('--muted');
    const grid = css('--grid');
    const ground = css('--ground');
    const hatch = css('--hatch');
    const font = `11px ${css('--font')}`;
    const stepped = uPlot.paths.stepped?.({ align: 1 });
    const order = kind === 'area' ? lines.map((_, i) => lines.length - 1 - i) : lines.map((_, i) => i);
    const axis = {
      stroke: text,
      font,
      grid: { stroke: grid, width: 1 },
      ticks: { stroke: grid, width: 1, size: 4 },
    };
    const tz = (seconds: number) =>
      zone === 'utc' ? uPlot.tzDate(new Date(seconds * 1000), 'UTC') : new Date(seconds * 1000);
    const options: uPlot.Options = {
      width: Math.max(element.clientWidth, 120),
      height,
      tzDate: tz,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        points: { show: kind === 'line' },
        drag: { x: true, y: false, setScale: false, dist: 4 },
        ...(props.sync ? { sync: { key: props.sync, setSeries: false, filters: { pub: isMove, sub: isMove } } } : {}),
      },
      select: { show: true, left: 0, top: 0, width: 0, height: 0 },
      scales: {
        x: { time: true, range: () => [latest.current.range.start / 1000, latest.current.range.end / 1000] },
        y: {
          range: (_self, _low, high) => {
            const most = Math.max(high ?? 0, latest.current.level?.value ?? 0);
            return [0, most > 0 ? most * 1.08 : 1];
          },
        },
      },
      axes: [
        {
          ...axis,
          size: 28,
          gap: 4,
          values: [
            [86400, '{MM}-{DD}', null, null, null, null, null, null, 1],
            [3600, '{HH}:{mm}', '\n{MM}-{DD}', null, '\n{MM}-{DD}', null, null, null, 1],
            [60, '{HH}:{mm}', null, null, null, null, null, null, 1],
            [1, '{HH}:{mm}:{ss}', null, null, null, null, null, null, 1],
          ] as uPlot.Axis.Values,
        },
        {
          ...axis,
          size: 64,
          gap: 6,
          ...(unit.startsWith('bytes') ? { incrs: binarySteps } : {}),
          values: axisValues(unit) as uPlot.Axis.Values,
        },
      ],
      series: [
        {},
        ...order.map((i): uPlot.Series => {
          const line = lines[i] as Line;
          return kind === 'area'
            ? {
                label: line.label,
                stroke: line.color,
                width: 0,
                fill: line.color,
                points: { show: false },
                ...(stepped ? { paths: stepped } : {}),
              }
            : {
                label: line.label,
                stroke: line.color,
                width: 1.5,
                spanGaps: false,
                points: { show: lonely, size: 4, fill: line.color, stroke: line.color },
              };
        }),
      ],
      hooks: {
        drawClear: [
          (u) => {
            const { ctx } = u;
            ctx.save();
            ctx.fillStyle = ground;
            ctx.fillRect(0, 0, ctx.canvas.width, ctx.canvas.height);
            ctx.fillStyle = hatching(ctx, hatch);
            for (const gap of gapsOf(latest.current.columns, latest.current.range)) {
              const left = u.valToPos(gap.from, 'x', true);
              const right = u.valToPos(gap.until, 'x', true);
              ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
            }
            ctx.restore();
          },
        ],
        draw: [
          (u) => {
            const { ctx } = u;
            const now = latest.current;
            ctx.save();
            ctx.beginPath();
            ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
            ctx.clip();
            if (now.kind === 'area') {
              ctx.fillStyle = ground;
              ctx.globalAlpha = 0.5;
              for (const part of partsOf(now.columns)) {
                const left = u.valToPos(part.from, 'x', true);
                ctx.fillRect(left, u.bbox.top, u.valToPos(part.until, 'x', true) - left, u.bbox.height);
              }
              ctx.globalAlpha = 1;
            }
            const pixel = devicePixelRatio;
            ctx.font = `${11 * pixel}px ${css('--font')}`;
            if (now.level) {
              const y = Math.round(u.valToPos(now.level.value, 'y', true));
              ctx.strokeStyle = css('--text');
              ctx.setLineDash([4 * pixel, 4 * pixel]);
              ctx.lineWidth = pixel;
              ctx.beginPath();
              ctx.moveTo(u.bbox.left, y);
              ctx.lineTo(u.bbox.left + u.bbox.width, y);
              ctx.stroke();
              ctx.setLineDash([]);
              ctx.textAlign = 'left';
              const width = ctx.measureText(now.level.label).width + 8 * pixel;
              const box = u.bbox.left + 4 * pixel;
              ctx.fillStyle = ground;
              ctx.fillRect(box, y - 9 * pixel, width, 18 * pixel);
              ctx.fillStyle = css('--text');
              ctx.fillText(now.level.label, box + 4 * pixel, y + 4 * pixel);
            }
            for (const marker of now.markers ?? []) {
              const x = Math.round(u.valToPos(marker.at / 1000, 'x', true));
              ctx.strokeStyle = css('--accent');
              ctx.fillStyle = css('--accent');
              ctx.lineWidth = pixel;
              ctx.globalAlpha = 0.4;
              ctx.beginPath();
              ctx.moveTo(x, u.bbox.top);
              ctx.lineTo(x, u.bbox.top + u.bbox.height);
              ctx.stroke();
              ctx.globalAlpha = 1;
              ctx.beginPath();
              ctx.moveTo(x - 4 * pixel, u.bbox.top);
              ctx.lineTo(x + 4 * pixel, u.bbox.top);
              ctx.lineTo(x, u.bbox.top + 6 * pixel);
              ctx.fill();
            }
            ctx.restore();
          },
        ],
        setCursor: [
          (u) => {
            const left = u.cursor.left ?? -1;
            if (left < 0) {
              setAt(undefined);
              return;
            }
            const now = latest.current;
            const time = u.posToVal(left, 'x');
            const first = now.columns.x[0];
            const index = first === undefined ? -1 : Math.floor((time - first) / now.columns.step);
            setAt(index >= 0 && index < now.columns.x.length ? index : undefined);
          },
        ],
        setSelect: [
          (u) => {
            if (u.select.width < 4) return;
            const start = Math.floor(u.posToVal(u.select.left, 'x')) * 1000;
            const end = Math.ceil(u.posToVal(u.select.left + u.select.width, 'x')) * 1000;
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            if (end - start >= 5000) latest.current.onZoom?.({ start, end });
          },
        ],
      },
    };
    const made = new uPlot(options, dataOf(drawn, kind), element);
    plot.current = made;
    latest.current.onCanvas?.(made.ctx.canvas);
    const watch = new ResizeObserver(() => {
      if (element.clientWidth > 0 && element.clientWidth !== made.width)
        made.setSize({ width: element.clientWidth, height });
    });
    watch.observe(element);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = undefined;
      latest.current.onCanvas?.(null);
    };
  }, [shape]);

  useEffect(() => {
    plot.current?.setData(dataOf(drawn, kind));
  }, [drawn, range.start, range.end, props.markers]);

  const shown = lines.map((line) => ({
    line,
    value: at === undefined ? average(line.values, columns.coverage) : (line.values[at] ?? null),
  }));
  const known = at === undefined || (columns.coverage[at] ?? 0) > 0;
  const time = at === undefined ? 'average' : dateTime((columns.x[at] ?? 0) * 1000, zone);
  const summary = `${props.title}: ${shown.map(({ line, value }) => `${line.label} ${withUnit(value, unit)}`).join(', ')}`;
  return (
    <div class={`chart legend-${legend}`}>
      <div class="plot" ref={host} role="img" aria-label={summary} />
      {legend !== 'none' && (
        <div class="legend">
          <span class="legend-time">{known ? time : `${time}: no data`}</span>
          <ul>
            {(kind === 'area' ? [...shown].reverse() : shown).map(({ line, value }) => (
              <li key={line.label}>
                <i style={{ background: line.color }} />
                {line.onPick ? (
                  <button type="button" class="link" onClick={line.onPick} title={`Only ${line.label}`}>
                    {line.label}
                  </button>
                ) : (
                  <span class="legend-name" title={line.label}>
                    {line.label}
                  </span>
                )}
                <b>{value === null ? '–' : withUnit(value, unit)}</b>
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}

// A point with nothing known on either side has no line: it is drawn as a dot.
function lonely(u: uPlot, series: number): boolean {
  return (u.data[series] as (number | null)[]).some(
    (value, i, row) => value != null && row[i - 1] == null && row[i + 1] == null,
  );
}

function dataOf(drawn: { x: number[]; values: (number | null)[][] }, kind: 'area' | 'line'): uPlot.AlignedData {
  // The tallest of a stack is drawn first, the others over it.
  const rows = kind === 'area' ? [...drawn.values].reverse() : drawn.values;
  return [drawn.x, ...rows] as uPlot.AlignedData;
}
