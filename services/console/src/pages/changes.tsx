// What changed: settings and schemas, or roles, databases and extensions, each with before, after and the two readings between which it
// happened. Asks: the states of the chosen kind, one question a metric.

import type { ComponentChildren } from 'preact';
import * as ask from '../api/asks.ts';
import type { StateChange } from '../api/generated.ts';
import type { Page } from '../state/page.ts';
import { useAsks } from '../state/query.ts';
import { dateTime, duration } from '../state/time.ts';
import { settingText } from '../state/units.ts';
import { change } from '../state/url.ts';
import { Choice } from '../ui/choice.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import type { TabProps } from './source.tsx';

const kinds = [
  { key: 'settings', title: 'settings', metrics: ['settings', 'role_settings'] },
  {
    key: 'schema',
    title: 'schema',
    metrics: [
      'schema_relations',
      'index_definitions',
      'schema_constraints',
      'schema_routines',
      'schema_triggers',
      'schemas',
    ],
  },
  {
    key: 'server',
    title: 'roles, databases and extensions',
    metrics: ['roles', 'databases', 'extensions', 'publications'],
  },
] as const;

type Kind = (typeof kinds)[number]['key'];

// What is asked where no kind is chosen: as many questions as a page may ask.
const usual: readonly string[] = kinds.filter((kind) => kind.key !== 'server').flatMap((kind) => kind.metrics);

const named: Record<string, string> = {
  settings: 'setting',
  role_settings: 'setting of a role',
  databases: 'database',
  schema_relations: 'relation',
  index_definitions: 'index',
  schema_constraints: 'constraint',
  schema_routines: 'function',
  schema_triggers: 'trigger or policy',
  schemas: 'schema',
  roles: 'role',
  extensions: 'extension',
  publications: 'publication',
};

// Newest changes of a metric.
const limit = 200;

// Said twice: beside the text that changed, its hash.
const repeated = new Set(['columns_hash', 'definition_hash', 'column_count', 'body_length', 'summary']);

interface Change extends StateChange {
  metric: string;
}

// The object's name without its database.
function nameOf(row: Change): string {
  const { datname, schemaname, ...rest } = row.labels;
  const parts = Object.values(rest).filter(Boolean);
  if (row.metric === 'databases') return datname ?? '';
  if (row.metric === 'role_settings') return [rest.rolname, datname, rest.setting_name].filter(Boolean).join(' ');
  if (row.metric === 'schemas') return schemaname ?? '';
  if (row.metric === 'schema_routines') return `${schemaname}.${rest.funcname}(${rest.arguments ?? ''})`;
  if (row.metric === 'index_definitions') return `${schemaname}.${rest.indexrelname}`;
  const name = [rest.relname, ...parts.filter((part) => part !== rest.relname)].filter(Boolean).join(' ');
  return schemaname ? `${schemaname}.${name}` : name;
}

export function ChangesTab({ page, name }: TabProps) {
  const chosen = page.view.query.get('kind');
  return (
    <ChangesPanel
      page={page}
      name={name}
      title="What changed"
      kind={kinds.find((kind) => kind.key === chosen)?.key}
      tools={
        <Choice
          label="of"
          value={chosen ?? ''}
          options={[{ key: '', title: 'settings and schema' }, ...kinds]}
          onChoose={(kind) => change({ kind }, 'replace')}
        />
      }
    />
  );
}

interface Props {
  page: Page;
  name: string;
  title: string;
  kind: Kind | undefined;
  tools?: ComponentChildren;
}

// Changes of a kind; without one the usual ones.
export function ChangesPanel({ page, name, title, kind, tools }: Props) {
  const { view, range, zone } = page;
  const chosen = kinds.find((one) => one.key === kind);
  const metrics: readonly string[] = chosen?.metrics ?? usual;
  const asks = metrics.map((metric) =>
    // Of settings the units are wanted, which stand in their rows.
    ask.stateOf(range, { metric, source: [name], limit: metric === 'settings' ? 1000 : limit }),
  );
  const answers = useAsks(asks, view.now);
  const changes: Change[] = answers.flatMap((answer, i) =>
    (answer.data?.changes ?? [])
      .filter((one) => !repeated.has(one.column))
      .map((one) => ({ ...one, metric: metrics[i] ?? '' })),
  );
  const units = new Map(
    answers[metrics.indexOf('settings')]?.data?.rows.map((row) => [
      row.labels.setting_name,
      row.values.setting_unit ?? '',
    ]),
  );
  const unitOf = (row: Change) =>
    row.metric === 'settings' && row.column === 'setting_value' ? (units.get(row.labels.setting_name) ?? '') : '';
  const left = answers.reduce((sum, { data }) => sum + (data ? data.changes_found - data.changes.length : 0), 0);
  const unread = metrics.filter((_, i) => answers[i]?.data?.rows_found === 0);
  const columns: Column<Change>[] = [
    {
      key: 'seen_after',
      title: 'Changed',
      value: (row) => row.seen_after ?? '',
      cell: (row) => (
        <span
          class="nowrap"
          title={row.seen_before ? `between ${dateTime(Date.parse(row.seen_before), zone)} and then` : ''}
        >
          {dateTime(Date.parse(row.seen_after ?? ''), zone)}
        </span>
      ),
    },
    { key: 'kind', title: 'Kind', value: (row) => named[row.metric] ?? row.metric },
    {
      key: 'object',
      title: 'Object',
      value: nameOf,
      cell: (row) => <span class="strong">{nameOf(row)}</span>,
    },
    {
      key: 'database',
      title: 'Database',
      wide: true,
      value: (row) => (row.metric === 'databases' ? '' : (row.labels.datname ?? '')),
    },
    {
      key: 'what',
      title: 'What',
      value: (row) => wordOf(row.column) || row.what,
      cell: (row) =>
        wordOf(row.column) || <span class={row.what === 'vanished' ? 'bad-text' : 'good-text'}>{row.what}</span>,
    },
    {
      key: 'before',
      title: 'Before',
      class: 'mono cut',
      value: (row) => row.before ?? null,
      cell: textOf('before', unitOf),
    },
    {
      key: 'after',
      title: 'After',
      class: 'mono cut grow',
      value: (row) => row.after ?? null,
      cell: textOf('after', unitOf),
    },
  ];
  return (
    <TablePanel
      title={title}
      note={
        answers.every((answer) => answer.data) &&
        `${changes.length} in ${duration(range.end - range.start)}${left > 0 ? `, ${left} older ones left out` : ''}; each is known to the interval of its reading`
      }
      tools={tools}
      asks={asks}
      answers={answers}
      columns={columns}
      rows={changes}
      rowKey={(row) => `${row.metric} ${JSON.stringify(row.labels)} ${row.column} ${row.what} ${row.seen_after}`}
      sort="-seen_after"
      tableKey={kind ?? 'usual'}
      most={200}
      empty={<Empty title="Nothing of it changed in this range.">Ask for a longer range above.</Empty>}
      foot={
        unread.length > 0 &&
        !answers.some((answer) => answer.loading) && (
          <p class="note">Without a row, or not read: {unread.map((metric) => named[metric]).join(', ')}.</p>
        )
      }
    />
  );
}

// A column as people say it.
const wordOf = (column: string) => column.replace(/_hash$/, '').replace(/^setting_value$/, 'value');

// A hash says only that something changed.
function textOf(side: 'before' | 'after', unitOf: (row: Change) => string) {
  return (row: Change) => {
    const value = row[side];
    if (row.column === '') return '';
    if (value === undefined) return 'NULL';
    if (row.column.endsWith('_hash')) return <span class="muted">{value.slice(0, 8)}</span>;
    return <span title={value}>{settingText(value, unitOf(row))}</span>;
  };
}
