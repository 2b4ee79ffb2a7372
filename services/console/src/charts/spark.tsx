// A small chart without axes, for rows of tables. Gaps stay open.

interface Props {
  values: readonly (number | null)[];
  label: string;
  width?: number;
  height?: number;
  color?: string;
}

export function Spark({ values, label, width = 120, height = 24, color = 'var(--accent)' }: Props) {
  const most = values.reduce<number>((max, value) => Math.max(max, value ?? 0), 0);
  const step = width / Math.max(values.length, 1);
  const y = (value: number) => (most > 0 ? height - 1 - (value / most) * (height - 3) : height - 1);
  let line = '';
  let area = '';
  let open = false;
  values.forEach((value, i) => {
    const x = i * step;
    if (value === null) {
      if (open) area += `V${height}Z`;
      open = false;
      return;
    }
    const top = y(value).toFixed(1);
    line += `${open ? 'L' : 'M'}${x.toFixed(1)} ${top}H${(x + step).toFixed(1)}`;
    area += open ? `V${top}H${(x + step).toFixed(1)}` : `M${x.toFixed(1)} ${height}V${top}H${(x + step).toFixed(1)}`;
    open = true;
  });
  if (open) area += `V${height}Z`;
  return (
    <svg class="spark" width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label}>
      <line x1="0" x2={width} y1={height - 0.5} y2={height - 0.5} class="spark-base" />
      <path d={area} fill={color} opacity="0.18" />
      <path d={line} fill="none" stroke={color} stroke-width="1.25" />
    </svg>
  );
}
