// Settings of the server and what of them changed. Asks: the state of the metrics settings and role_settings.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import type { StateRow } from '../api/generated.ts';
import { useAsk } from '../state/query.ts';
import { settingText } from '../state/units.ts';
import { nameColumn } from '../ui/cells.tsx';
import { Empty } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { ChangesPanel } from './changes.tsx';
import type { TabProps } from './source.tsx';

// Where a value comes from is NULL for those that are set anew for reading: the value decides.
const isDefault = (row: StateRow) =>
  row.values.source === 'default' ||
  (row.values.source === undefined && row.values.setting_value === row.values.boot_value);

export function SettingsTab({ page, name }: TabProps) {
  const { view, range } = page;
  const [text, setText] = useState('');
  const [all, setAll] = useState(false);
  const question = ask.stateOf(range, { metric: 'settings', source: [name], limit: 1000 });
  const answer = useAsk(question, view.now);
  const settings = (answer.data?.rows ?? [])
    .filter((row) => all || !isDefault(row) || row.values.pending_restart === 'true')
    .filter((row) => `${row.labels.setting_name} ${row.values.category}`.toLowerCase().includes(text.toLowerCase()));
  const columns: Column<StateRow>[] = [
    nameColumn('setting', 'Setting', (row) => row.labels.setting_name ?? '', { class: '' }),
    {
      key: 'value',
      title: 'Value',
      class: 'mono grow',
      value: (row) => row.values.setting_value ?? null,
      cell: (row) => (
        <span title={`${row.values.setting_value ?? 'NULL'} ${row.values.setting_unit ?? ''}`}>
          {settingText(row.values.setting_value, row.values.setting_unit ?? '')}
        </span>
      ),
    },
    {
      key: 'boot_value',
      title: 'Default',
      class: 'mono',
      wide: true,
      value: (row) => row.values.boot_value ?? null,
      cell: (row) => settingText(row.values.boot_value ?? '', row.values.setting_unit ?? ''),
    },
    {
      key: 'source',
      title: 'Set by',
      value: (row) => row.values.source ?? '',
      cell: (row) => (
        <span title={row.values.source_file ? `${row.values.source_file}, line ${row.values.source_line ?? ''}` : ''}>
          {row.values.source ?? ''}
        </span>
      ),
    },
    { key: 'context', title: 'Takes', wide: true, value: (row) => row.values.context ?? '' },
    {
      key: 'pending_restart',
      title: 'Restart',
      value: (row) => row.values.pending_restart ?? '',
      cell: (row) => (row.values.pending_restart === 'true' ? <span class="bad-text">waits for a restart</span> : ''),
    },
  ];
  return (
    <>
      <ChangesPanel page={page} name={name} title="Changes" kind="settings" />
      <TablePanel
        title="Settings"
        note={answer.data && `${settings.length} of ${answer.data.rows_found}`}
        tools={
          <>
            <input
              type="search"
              aria-label="Filter settings"
              placeholder="name, group"
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
            <label class="check">
              <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} />
              defaults too
            </label>
          </>
        }
        asks={[question]}
        answers={[answer]}
        columns={columns}
        rows={settings}
        rowKey={(row) => row.labels.setting_name ?? ''}
        sort="setting"
        skeleton={240}
        empty={<Empty title="No setting to show." />}
      />
    </>
  );
}
