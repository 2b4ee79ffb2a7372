// What is wrong now, what was, what is kept quiet, and the rules behind it. Asks: alerts that have not ended, those that
// have, silences, rules.

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import * as api from '../api/generated.ts';
import { currentUser } from '../api/session.ts';
import type { Page } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { type Run, useRun } from '../state/run.ts';
import { dateTime, duration } from '../state/time.ts';
import { hrefTo } from '../state/url.ts';
import { State } from '../ui/marks.tsx';
import { Dialog } from '../ui/panel.tsx';
import { Empty, ErrorState } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';

const rank: Record<string, number> = { critical: 0, warning: 1, info: 2 };
// Rules are evaluated every minute.
const late = 5 * 60_000;

export function AlertsPage({ page }: { page: Page }) {
  const { view, zone } = page;
  const [problem, run] = useRun();
  const [shown, show] = useState<api.Alert | undefined>();
  const [silenced, silence] = useState<api.Alert | undefined>();
  const [tested, setTested] = useState<api.SendTestAlertResponse | undefined>();
  const active = useAsk(ask.alerts('active'), view.now);
  const mayChange = currentUser()?.role !== 'viewer';
  const all = active.data?.data ?? [];
  const isSilenced = (alert: api.Alert) => alert.silenced_by.length > 0;
  const evaluated = active.data?.evaluated_at ? Date.parse(active.data.evaluated_at) : undefined;
  const tableOf = (title: string, rows: api.Alert[], empty: ComponentChildren) => (
    <TablePanel
      title={title}
      note={rows.length > 0 ? String(rows.length) : ''}
      asks={[ask.alerts('active')]}
      answers={[active]}
      columns={columnsOf(page, run, mayChange, show, silence)}
      rows={rows}
      rowKey={(row) => row.id}
      sort="severity"
      empty={empty}
    />
  );
  return (
    <>
      <div class="head">
        <h1>Alerts</h1>
        {active.data && (
          <p class="facts">
            <span>{active.data.firing} fire</span>
            <span>{active.data.pending} wait</span>
            <span>
              {evaluated === undefined
                ? 'no rule has been evaluated yet'
                : `evaluated ${duration(Math.max(view.now - evaluated, 0))} ago`}
            </span>
          </p>
        )}
        <span class="space" />
        {mayChange && (
          <button
            type="button"
            onClick={() =>
              void run(async () => {
                setTested(await api.sendTestAlert({}));
              })
            }
          >
            Send a test alert
          </button>
        )}
      </div>
      {problem && <ErrorState error={problem} />}
      {evaluated !== undefined && view.now - evaluated > late && (
        <p class="banner unknown">
          Rules were last evaluated {dateTime(evaluated, zone)}: what is shown may be over, and what is wrong now may be
          missing.
        </p>
      )}
      {tableOf(
        'Firing',
        all.filter((alert) => alert.state === 'firing' && !isSilenced(alert)),
        <Empty title="Nothing fires." />,
      )}
      {tableOf(
        'Pending',
        all.filter((alert) => alert.state === 'pending' && !isSilenced(alert)),
        <Empty title="Nothing waits.">What has begun and does not hold for long enough yet stands here.</Empty>,
      )}
      {all.some(isSilenced) && tableOf('Silenced', all.filter(isSilenced), '')}
      <Silences page={page} run={run} mayChange={mayChange} />
      <History page={page} show={show} />
      <Rules page={page} />
      {shown && <Details page={page} alert={shown} onClose={() => show(undefined)} />}
      {silenced && <NewSilence alert={silenced} run={run} onClose={() => silence(undefined)} />}
      {tested && (
        <Dialog title="Test alert" onClose={() => setTested(undefined)}>
          {tested.deliveries.length === 0 && (
            <Empty title="No receiver is set up.">
              <code>ALERTMANAGER_URL</code>, <code>ALERT_SLACK_URL</code>, <code>ALERT_PAGERDUTY_KEY</code> and{' '}
              <code>ALERT_WEBHOOK_URL</code> name them.
            </Empty>
          )}
          {tested.deliveries.map((one) => (
            <p key={one.receiver}>
              <span class="strong">{one.receiver}</span> {one.delivered ? 'took it' : `did not take it: ${one.error}`}
            </p>
          ))}
        </Dialog>
      )}
    </>
  );
}

function Severity({ severity }: { severity: string }) {
  const tone = severity === 'critical' ? 'bad' : severity === 'warning' ? 'warn' : 'unknown';
  return (
    <span class={`mark ${tone}`}>
      <i aria-hidden="true" />
      {severity}
    </span>
  );
}

function messageOf(page: Page, row: api.Alert, show: (alert: api.Alert) => void) {
  return (
    <div>
      <button type="button" class="link strong" onClick={() => show(row)}>
        {row.message}
      </button>
      {row.unknown_since && (
        <div class="trouble">
          Unknown for {duration(Math.max(page.view.now - Date.parse(row.unknown_since), 0))}: {row.unknown_reason}
        </div>
      )}
      {row.is_acknowledged && (
        <div class="note">
          taken by {row.acknowledged_by}
          {row.acknowledge_comment && `: ${row.acknowledge_comment}`}
        </div>
      )}
    </div>
  );
}

// Of every table of alerts.
function firstColumns(page: Page, show: (alert: api.Alert) => void): Column<api.Alert>[] {
  return [
    {
      key: 'severity',
      title: 'Severity',
      value: (row) => rank[row.severity] ?? 3,
      cell: (row) => <Severity severity={row.severity} />,
    },
    {
      key: 'alert',
      title: 'Alert',
      class: 'grow',
      value: (row) => row.message,
      cell: (row) => messageOf(page, row, show),
    },
  ];
}

function columnsOf(
  page: Page,
  run: Run,
  mayChange: boolean,
  show: (alert: api.Alert) => void,
  silence: (alert: api.Alert) => void,
): Column<api.Alert>[] {
  const columns: Column<api.Alert>[] = [
    ...firstColumns(page, show),
    { key: 'value', title: 'Seen', numeric: true, value: (row) => row.value ?? null, cell: (row) => row.metric_value },
    { key: 'threshold', title: 'Fires', wide: true, value: (row) => row.threshold },
    {
      key: 'since',
      title: 'Since',
      numeric: true,
      value: (row) => row.since ?? null,
      cell: (row) =>
        row.since && (
          <span title={dateTime(Date.parse(row.since), page.zone)}>
            {duration(Math.max(page.view.now - Date.parse(row.since), 0))}
          </span>
        ),
    },
  ];
  if (!mayChange) return columns;
  return [
    ...columns,
    {
      key: 'do',
      title: 'Do',
      value: () => '',
      cell: (row) => (
        <span class="actions">
          {!row.is_acknowledged && (
            <button
              type="button"
              class="quiet"
              onClick={() => void run(() => api.acknowledgeAlert({ id: row.id }))}
              title={`Say that you take care of: ${row.message}`}
            >
              Acknowledge
            </button>
          )}
          <button type="button" class="quiet" onClick={() => silence(row)} title={`Silence ${row.message}`}>
            Silence
          </button>
          {row.state === 'firing' && (
            <button
              type="button"
              class="quiet"
              onClick={() =>
                confirm(`End this alert until it begins anew? ${row.message}`) &&
                void run(() => api.resolveAlert({ id: row.id }))
              }
            >
              Resolve
            </button>
          )}
        </span>
      ),
    },
  ];
}

function Details({ page, alert, onClose }: { page: Page; alert: api.Alert; onClose: () => void }) {
  const at = (text: string | undefined) => (text ? dateTime(Date.parse(text), page.zone) : '');
  const facts: [string, ComponentChildren][] = [
    ['Rule', `${alert.rule_id} (${alert.severity})`],
    ['State', <State state={alert.state} />],
    ['Seen', `${alert.metric_value}, fires ${alert.threshold}`],
    ['Holds since', at(alert.since)],
    ['Fires since', at(alert.created_at)],
    ['Ended', alert.resolved_at ? `${at(alert.resolved_at)}: ${alert.resolve_reason}` : ''],
    ['Ended by', alert.resolved_by],
    [
      'Labels',
      Object.entries(alert.labels)
        .map(([name, value]) => `${name}=${value}`)
        .join(' '),
    ],
    ['Members', alert.members.join(', ')],
    ['Asked by', <code>{alert.query}</code>],
  ];
  return (
    <Dialog title={alert.message} onClose={onClose}>
      <dl class="facts-list">
        {facts
          .filter(([, value]) => value)
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
      </dl>
      <p class="runbook">{alert.runbook}</p>
      {alert.page && (
        <p>
          <a href={hrefTo(alert.page)} onClick={onClose}>
            Show where it is seen
          </a>
        </p>
      )}
    </Dialog>
  );
}

function NewSilence({ alert, run, onClose }: { alert: api.Alert; run: Run; onClose: () => void }) {
  const [hours, setHours] = useState('2');
  const [comment, setComment] = useState('');
  const labels: [string, string][] = [
    ['alertname', alert.rule_id],
    ...Object.entries(alert.labels).sort(([a], [b]) => a.localeCompare(b)),
  ];
  const [off, setOff] = useState<readonly string[]>([]);
  const matchers = labels.filter(([name]) => !off.includes(name));
  return (
    <Dialog title="Silence" onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run(() =>
            api.createSilence({
              matchers: matchers.map(([name, value]) => ({ name, value, is_regex: false, is_negative: false })),
              duration_seconds: Math.round(Number(hours) * 3600),
              comment,
            }),
          ).then(onClose);
        }}
      >
        <p class="muted">Alerts with all of these labels reach nobody until it is over.</p>
        {labels.map(([name, value]) => (
          <label key={name} class="check">
            <input
              type="checkbox"
              checked={!off.includes(name)}
              onChange={() => setOff(off.includes(name) ? off.filter((one) => one !== name) : [...off, name])}
            />
            {name}={value}
          </label>
        ))}
        <label>
          Hours
          <input
            type="number"
            min="0.1"
            max="8760"
            step="any"
            value={hours}
            onInput={(event) => setHours(event.currentTarget.value)}
          />
        </label>
        <label>
          Why
          <input required value={comment} onInput={(event) => setComment(event.currentTarget.value)} />
        </label>
        <button type="submit" disabled={matchers.length === 0}>
          Silence
        </button>
      </form>
    </Dialog>
  );
}

function Silences({ page, run, mayChange }: { page: Page; run: Run; mayChange: boolean }) {
  const question = ask.silences();
  const answer = useAsk(question, page.view.now);
  const rows = answer.data?.silences ?? [];
  if (answer.data && rows.length === 0) return null;
  const text = (one: api.Matcher) => `${one.name}${one.is_negative ? '!' : ''}${one.is_regex ? '~' : '='}${one.value}`;
  const columns: Column<api.Silence>[] = [
    { key: 'matches', title: 'Labels', class: 'grow', value: (row) => row.matchers.map(text).join(' ') },
    { key: 'comment', title: 'Why', value: (row) => row.comment },
    { key: 'by', title: 'By', value: (row) => row.created_by },
    {
      key: 'until',
      title: 'Until',
      numeric: true,
      value: (row) => row.ends_at ?? null,
      cell: (row) => (row.ends_at ? dateTime(Date.parse(row.ends_at), page.zone) : ''),
    },
  ];
  if (mayChange) {
    columns.push({
      key: 'do',
      title: 'Do',
      value: () => '',
      cell: (row) => (
        <button type="button" class="quiet" onClick={() => void run(() => api.deleteSilence({ id: row.id }))}>
          End
        </button>
      ),
    });
  }
  return (
    <TablePanel
      title="Silences"
      note={answer.data?.kept_in === 'alertmanager' ? 'kept in Alertmanager' : ''}
      asks={[question]}
      answers={[answer]}
      columns={columns}
      rows={rows}
      rowKey={(row) => row.id}
      sort="until"
      empty=""
    />
  );
}

function History({ page, show }: { page: Page; show: (alert: api.Alert) => void }) {
  const question = ask.alerts('resolved');
  const answer = useAsk(question, page.view.now);
  const rows = answer.data?.data ?? [];
  const columns: Column<api.Alert>[] = [
    ...firstColumns(page, show),
    {
      key: 'since',
      title: 'From',
      numeric: true,
      value: (row) => row.since ?? null,
      cell: (row) => (row.since ? dateTime(Date.parse(row.since), page.zone) : ''),
    },
    {
      key: 'until',
      title: 'To',
      numeric: true,
      value: (row) => row.resolved_at ?? null,
      cell: (row) => (row.resolved_at ? dateTime(Date.parse(row.resolved_at), page.zone) : ''),
    },
    { key: 'why', title: 'Ended', wide: true, value: (row) => row.resolved_by || row.resolve_reason },
  ];
  const total = answer.data?.total ?? 0;
  return (
    <TablePanel
      title="History"
      note={total > rows.length ? `the newest ${rows.length} of ${total}` : ''}
      asks={[question]}
      answers={[answer]}
      columns={columns}
      rows={rows}
      rowKey={(row) => row.id}
      sort="-until"
      empty={<Empty title="No alert has ended yet." />}
    />
  );
}

function Rules({ page }: { page: Page }) {
  const question = ask.alertRules();
  const answer = useAsk(question, page.view.now);
  const columns: Column<api.AlertRule>[] = [
    { key: 'rule', title: 'Rule', class: 'grow', value: (row) => row.name },
    { key: 'area', title: 'Area', value: (row) => row.area },
    {
      key: 'severity',
      title: 'Severity',
      value: (row) => rank[row.severity] ?? 3,
      cell: (row) => <Severity severity={row.severity} />,
    },
    { key: 'fires', title: 'Fires', value: (row) => row.condition_value },
    {
      key: 'for',
      title: 'For',
      numeric: true,
      value: (row) => row.for_seconds,
      cell: (row) => (row.for_seconds > 0 ? duration(row.for_seconds * 1000) : 'at once'),
    },
    { key: 'value', title: 'Value', wide: true, value: (row) => row.expression },
    {
      key: 'error',
      title: 'Answer',
      value: (row) => row.last_error,
      cell: (row) => (row.last_error ? <span class="bad-text">{row.last_error}</span> : 'known'),
    },
  ];
  return (
    <TablePanel
      title="Rules"
      asks={[question]}
      answers={[answer]}
      head={(answer.data?.problems ?? []).map((one) => (
        <p key={one} class="banner warn">
          Refused: {one}
        </p>
      ))}
      columns={columns}
      rows={answer.data?.rules ?? []}
      rowKey={(row) => row.id}
      sort="area"
      most={100}
      empty={<Empty title="No rules." />}
    />
  );
}
