// People, tokens of programs, registration secrets. Asks: the three lists. What is made once is shown once.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import { ApiError } from '../api/client.ts';
import * as api from '../api/generated.ts';
import { currentUser } from '../api/session.ts';
import type { Page } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { type Run, useRun } from '../state/run.ts';
import { dateTime, duration } from '../state/time.ts';
import { Field, Form, text } from '../ui/form.tsx';
import { Copy, Dialog } from '../ui/panel.tsx';
import { Empty, ErrorState } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';

// What a form is for, and what came of it.
interface Shown {
  title: string;
  secret: string;
  note: string;
}

export function AdminPage({ page }: { page: Page }) {
  const [shown, show] = useState<Shown | undefined>();
  const [form, open] = useState<'user' | 'token' | 'secret' | undefined>();
  const [problem, run] = useRun();
  if (currentUser()?.role !== 'admin') {
    return <ErrorState error={new ApiError(403, 'People, tokens and secrets are for administrators.')} />;
  }
  return (
    <>
      <div class="head">
        <h1>Admin</h1>
      </div>
      {problem && <ErrorState error={problem} />}
      <People page={page} run={run} show={show} onNew={() => open('user')} />
      <Tokens page={page} run={run} onNew={() => open('token')} />
      <Secrets page={page} run={run} onNew={() => open('secret')} />
      {form === 'user' && <NewUser onClose={() => open(undefined)} />}
      {form === 'token' && <NewToken onClose={() => open(undefined)} show={show} />}
      {form === 'secret' && <NewSecret onClose={() => open(undefined)} show={show} />}
      {shown && (
        <Dialog title={shown.title} onClose={() => show(undefined)}>
          <p class="muted">{shown.note}</p>
          <Copy text={shown.secret} label={shown.title} />
        </Dialog>
      )}
    </>
  );
}

const when = (text: string | undefined, zone: Page['zone']) => (text ? dateTime(Date.parse(text), zone) : 'never');

function People({ page, run, show, onNew }: { page: Page; run: Run; show: (shown: Shown) => void; onNew: () => void }) {
  const question = ask.users();
  const answer = useAsk(question, page.view.now);
  const columns: Column<api.User>[] = [
    {
      key: 'user',
      title: 'User',
      class: 'grow',
      value: (row) => row.username,
      cell: (row) => <span class="strong">{row.username}</span>,
    },
    { key: 'name', title: 'Name', wide: true, value: (row) => row.full_name },
    { key: 'email', title: 'E-mail', wide: true, value: (row) => row.email },
    {
      key: 'role',
      title: 'Role',
      value: (row) => row.role,
      cell: (row) =>
        row.username === 'admin' ? (
          row.role
        ) : (
          <select
            aria-label={`Role of ${row.username}`}
            value={row.role}
            onChange={(event) => void run(() => api.updateUser({ id: row.id, role: event.currentTarget.value }))}
          >
            {['viewer', 'user', 'admin'].map((role) => (
              <option key={role}>{role}</option>
            ))}
          </select>
        ),
    },
    {
      key: 'last_login',
      title: 'Last sign-in',
      numeric: true,
      value: (row) => row.last_login ?? null,
      cell: (row) => when(row.last_login, page.zone),
    },
    { key: 'active', title: 'Active', value: (row) => row.is_active, cell: (row) => (row.is_active ? 'yes' : 'no') },
    {
      key: 'do',
      title: 'Do',
      value: () => '',
      cell: (row) =>
        row.username === 'admin' ? (
          ''
        ) : (
          <span class="actions">
            <button
              type="button"
              class="quiet"
              onClick={() => void run(() => api.updateUser({ id: row.id, is_active: !row.is_active }))}
            >
              {row.is_active ? 'Disable' : 'Enable'}
            </button>
            <button
              type="button"
              class="quiet"
              onClick={() =>
                void run(async () => {
                  const made = await api.resetUserPassword({ id: row.id });
                  show({
                    title: `Password of ${made.username}`,
                    secret: made.temp_password,
                    note: 'Shown once. All sessions of this person have ended.',
                  });
                })
              }
            >
              Reset password
            </button>
            <button
              type="button"
              class="quiet"
              onClick={() => confirm(`Delete ${row.username}?`) && void run(() => api.deleteUser({ id: row.id }))}
            >
              Delete
            </button>
          </span>
        ),
    },
  ];
  return (
    <TablePanel
      title="People"
      asks={[question]}
      tools={
        <button type="button" onClick={onNew}>
          New person
        </button>
      }
      answers={[answer]}
      columns={columns}
      rows={answer.data ?? []}
      rowKey={(row) => String(row.id)}
      sort="user"
      empty={<Empty title="Nobody." />}
    />
  );
}

function Tokens({ page, run, onNew }: { page: Page; run: Run; onNew: () => void }) {
  const question = ask.tokens();
  const answer = useAsk(question, page.view.now);
  const rows = answer.data?.tokens ?? [];
  const columns: Column<api.ApiToken>[] = [
    {
      key: 'token',
      title: 'Token',
      class: 'grow',
      value: (row) => row.name,
      cell: (row) => <span class="strong">{row.name}</span>,
    },
    { key: 'role', title: 'Role', value: (row) => row.role },
    {
      key: 'groups',
      title: 'Groups',
      wide: true,
      value: (row) => row.groups.join(' '),
      cell: (row) => (row.groups.length > 0 ? row.groups.join(', ') : 'all'),
    },
    {
      key: 'query_texts',
      title: 'Texts',
      value: (row) => row.query_texts,
      cell: (row) => (row.query_texts ? 'yes' : 'no'),
    },
    { key: 'made_by', title: 'Made by', wide: true, value: (row) => row.created_by_username ?? '' },
    {
      key: 'last_used_at',
      title: 'Last used',
      numeric: true,
      wide: true,
      value: (row) => row.last_used_at ?? null,
      cell: (row) => when(row.last_used_at, page.zone),
    },
    {
      key: 'expires_at',
      title: 'Ends',
      numeric: true,
      value: (row) => row.expires_at ?? null,
      cell: (row) => {
        if (row.revoked_at) return 'revoked';
        const left = Date.parse(row.expires_at ?? '') - page.view.now;
        return left > 0 ? `in ${duration(left)}` : 'ended';
      },
    },
    {
      key: 'do',
      title: 'Do',
      value: () => '',
      cell: (row) =>
        !row.revoked_at && (
          <button
            type="button"
            class="quiet"
            onClick={() => confirm(`Revoke token ${row.name}?`) && void run(() => api.revokeApiToken({ id: row.id }))}
          >
            Revoke
          </button>
        ),
    },
  ];
  return (
    <TablePanel
      title="Tokens of programs"
      tools={
        <button type="button" onClick={onNew}>
          New token
        </button>
      }
      asks={[question]}
      answers={[answer]}
      columns={columns}
      rows={rows}
      rowKey={(row) => row.id}
      sort="token"
      empty={<Empty title="No tokens.">Grafana, Prometheus and scripts sign in with one.</Empty>}
    />
  );
}

function Secrets({ page, run, onNew }: { page: Page; run: Run; onNew: () => void }) {
  const question = ask.secrets();
  const answer = useAsk(question, page.view.now);
  const rows = answer.data?.secrets ?? [];
  const columns: Column<api.RegistrationSecret>[] = [
    {
      key: 'secret',
      title: 'Secret',
      class: 'grow',
      value: (row) => row.name,
      cell: (row) => <span class="strong">{row.name}</span>,
    },
    { key: 'group', title: 'Group', value: (row) => row.group },
    {
      key: 'for',
      title: 'Registers',
      value: (row) => (row.for_many ? 'any number' : row.collector_id || 'the first that uses it'),
    },
    { key: 'used', title: 'Used', numeric: true, value: (row) => row.total_registrations },
    {
      key: 'last_used_at',
      title: 'Last used',
      numeric: true,
      wide: true,
      value: (row) => row.last_used_at ?? null,
      cell: (row) => when(row.last_used_at, page.zone),
    },
    { key: 'active', title: 'Active', value: (row) => row.active, cell: (row) => (row.active ? 'yes' : 'no') },
    {
      key: 'do',
      title: 'Do',
      value: () => '',
      cell: (row) => (
        <span class="actions">
          <button
            type="button"
            class="quiet"
            onClick={() =>
              void run(() =>
                api.updateRegistrationSecret({
                  id: row.id,
                  name: row.name,
                  description: row.description,
                  active: !row.active,
                }),
              )
            }
          >
            {row.active ? 'Deactivate' : 'Activate'}
          </button>
          <button
            type="button"
            class="quiet"
            onClick={() =>
              confirm(`Delete secret ${row.name}?`) && void run(() => api.deleteRegistrationSecret({ id: row.id }))
            }
          >
            Delete
          </button>
        </span>
      ),
    },
  ];
  return (
    <TablePanel
      title="Registration secrets"
      tools={
        <button type="button" onClick={onNew}>
          New secret
        </button>
      }
      asks={[question]}
      answers={[answer]}
      columns={columns}
      rows={rows}
      rowKey={(row) => row.id}
      sort="secret"
      empty={<Empty title="No secrets.">A collector registers with one, or with REGISTRATION_SECRET.</Empty>}
    />
  );
}

function Role() {
  return (
    <label>
      Role
      <select name="role">
        <option>viewer</option>
        <option>user</option>
        <option>admin</option>
      </select>
    </label>
  );
}

function NewUser({ onClose }: { onClose: () => void }) {
  return (
    <Form
      title="New person"
      onClose={onClose}
      action={async (fields) => {
        await api.createUser({
          username: text(fields, 'username'),
          email: text(fields, 'email'),
          full_name: text(fields, 'full_name'),
          password: String(fields.get('password') ?? ''),
          role: text(fields, 'role'),
        });
      }}
    >
      <Field label="User" name="username" minLength={3} />
      <Field label="Name" name="full_name" required={false} />
      <Field label="E-mail" name="email" type="email" />
      <Field label="Password" name="password" type="password" minLength={8} />
      <Role />
    </Form>
  );
}

function NewToken({ onClose, show }: { onClose: () => void; show: (shown: Shown) => void }) {
  return (
    <Form
      title="New token"
      onClose={onClose}
      action={async (fields) => {
        const days = Number(text(fields, 'days'));
        const made = await api.createApiToken({
          name: text(fields, 'name'),
          role: text(fields, 'role'),
          groups: text(fields, 'groups')
            .split(/[\s,]+/)
            .filter(Boolean),
          query_texts: fields.get('query_texts') === 'on',
          expires_at: new Date(Date.now() + days * 86_400_000).toISOString(),
        });
        show({
          title: `Token ${made.api_token?.name ?? ''}`,
          secret: made.token,
          note: 'Shown once. It goes into the header Authorization, after Bearer.',
        });
      }}
    >
      <Field label="Name" name="name" />
      <Role />
      <Field label="Groups, empty for all" name="groups" required={false} />
      <label>
        Days
        <input name="days" type="number" min="1" max="366" defaultValue="90" required />
      </label>
      <label class="check">
        <input name="query_texts" type="checkbox" /> may read texts of statements
      </label>
    </Form>
  );
}

function NewSecret({ onClose, show }: { onClose: () => void; show: (shown: Shown) => void }) {
  return (
    <Form
      title="New secret"
      onClose={onClose}
      action={async (fields) => {
        const made = await api.createRegistrationSecret({
          name: text(fields, 'name'),
          description: text(fields, 'description'),
          collector_id: text(fields, 'collector_id'),
          for_many: fields.get('for_many') === 'on',
          group: text(fields, 'group'),
        });
        show({
          title: `Secret ${made.name}`,
          secret: made.secret_value,
          note: 'Shown once. The collector reads it as REGISTRATION_SECRET.',
        });
      }}
    >
      <Field label="Name" name="name" />
      <Field label="What for" name="description" required={false} />
      <Field label="Id of the collector, empty for its first use" name="collector_id" required={false} />
      <Field label="Group of its sources, empty for default" name="group" required={false} />
      <label class="check">
        <input name="for_many" type="checkbox" /> for any number of collectors
      </label>
    </Form>
  );
}
