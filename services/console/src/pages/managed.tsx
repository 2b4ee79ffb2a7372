// Managed instances: servers that a collector watches without an agent on their host. Asks: the list. Administrators add,
// pause and delete; users test.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import * as api from '../api/generated.ts';
import { currentUser } from '../api/session.ts';
import type { Page } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { type Run, useRun } from '../state/run.ts';
import { dateTime } from '../state/time.ts';
import { Field, Form, text } from '../ui/form.tsx';
import { State } from '../ui/marks.tsx';
import { Dialog } from '../ui/panel.tsx';
import { Empty, ErrorState } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';

const modes = ['require', 'verify-full', 'verify-ca', 'prefer', 'allow', 'disable'];

// What a change sends: the instance as it is, without its password, which then stays.
function specOf(row: api.ManagedInstance, status: string): api.ManagedInstanceSpec {
  return { ...row, status };
}

export function ManagedInstances({ page }: { page: Page }) {
  const [adding, add] = useState(false);
  const [outcome, say] = useState('');
  const [problem, run] = useRun();
  const question = ask.managedInstances();
  const answer = useAsk(question, page.view.now);
  const role = currentUser()?.role;
  const columns: Column<api.ManagedInstance>[] = [
    { key: 'status', title: 'Status', value: (row) => row.status, cell: (row) => <State state={row.status} /> },
    {
      key: 'instance',
      title: 'Instance',
      class: 'grow',
      value: (row) => row.name,
      cell: (row) => <span class="strong">{row.name}</span>,
    },
    { key: 'endpoint', title: 'Server', value: (row) => `${row.endpoint}:${row.port}` },
    { key: 'group', title: 'Group', wide: true, value: (row) => row.group },
    { key: 'collector', title: 'Collector', value: (row) => row.assigned_collector_id || 'none' },
    {
      key: 'connection',
      title: 'Connection',
      value: (row) => row.last_connection_status,
      cell: (row) => (
        <span title={row.last_error_message}>
          {row.last_connection_status}
          {row.last_heartbeat && `, ${dateTime(Date.parse(row.last_heartbeat), page.zone)}`}
        </span>
      ),
    },
  ];
  if (role === 'user' || role === 'admin') {
    columns.push({ key: 'do', title: 'Do', value: () => '', cell: (row) => <Actions row={row} run={run} say={say} /> });
  }
  return (
    <>
      {problem && <ErrorState error={problem} />}
      <TablePanel
        title="Managed instances"
        asks={[question]}
        tools={
          role === 'admin' && (
            <button type="button" onClick={() => add(true)}>
              Add instance
            </button>
          )
        }
        answers={[answer]}
        columns={columns}
        rows={answer.data ?? []}
        rowKey={(row) => String(row.id)}
        sort="instance"
        empty={<Empty title="No managed instances.">A collector watches them without an agent on their host.</Empty>}
      />
      {adding && <NewInstance onClose={() => add(false)} />}
      {outcome && (
        <Dialog title="Connection test" onClose={() => say('')}>
          <p>{outcome}</p>
        </Dialog>
      )}
    </>
  );
}

function Actions({ row, run, say }: { row: api.ManagedInstance; run: Run; say: (outcome: string) => void }) {
  const paused = row.status === 'paused';
  return (
    <span class="actions">
      <button
        type="button"
        class="quiet"
        aria-label={`Test ${row.name}`}
        onClick={() =>
          void run(async () => {
            const tested = await api.testConnection({ id: row.id });
            say(tested.success ? `${row.name} lets ${row.master_username} in.` : (tested.error ?? ''));
          })
        }
      >
        Test
      </button>
      {currentUser()?.role === 'admin' && (
        <>
          <button
            type="button"
            class="quiet"
            aria-label={`${paused ? 'Watch' : 'Pause'} ${row.name}`}
            onClick={() =>
              void run(() =>
                api.updateManagedInstance({ id: row.id, instance: specOf(row, paused ? 'registered' : 'paused') }),
              )
            }
          >
            {paused ? 'Watch' : 'Pause'}
          </button>
          <button
            type="button"
            class="quiet"
            aria-label={`Delete ${row.name}`}
            onClick={() =>
              confirm(`Delete ${row.name}? Its data stay.`) && void run(() => api.deleteManagedInstance({ id: row.id }))
            }
          >
            Delete
          </button>
        </>
      )}
    </span>
  );
}

function NewInstance({ onClose }: { onClose: () => void }) {
  return (
    <Form
      title="Add instance"
      onClose={onClose}
      action={async (fields) => {
        await api.createManagedInstance({
          instance: {
            name: text(fields, 'name'),
            endpoint: text(fields, 'endpoint'),
            port: Number(text(fields, 'port')),
            master_username: text(fields, 'username'),
            master_password: String(fields.get('password') ?? ''),
            ssl_mode: text(fields, 'ssl_mode'),
            group: text(fields, 'group') || 'default',
            tags: {},
          },
        });
      }}
    >
      <Field label="Name" name="name" minLength={3} />
      <Field label="Host" name="endpoint" />
      <Field label="Port" name="port" type="number" value="5432" />
      <Field label="Login" name="username" />
      <Field label="Password" name="password" type="password" />
      <label>
        TLS
        <select name="ssl_mode">
          {modes.map((mode) => (
            <option key={mode}>{mode}</option>
          ))}
        </select>
      </label>
      <Field label="Group, empty for default" name="group" required={false} />
    </Form>
  );
}
