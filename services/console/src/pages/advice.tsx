// What should be done about servers, with the figures that say so, and what could not be judged. Asks: advice.

import { useState } from 'preact/hooks';
import * as ask from '../api/asks.ts';
import * as api from '../api/generated.ts';
import { currentUser } from '../api/session.ts';
import type { Page } from '../state/page.ts';
import { sourceHref, statementHref } from '../state/page.ts';
import { useAsk } from '../state/query.ts';
import { useRun } from '../state/run.ts';
import { dateTime } from '../state/time.ts';
import { percent } from '../state/units.ts';
import { Dialog } from '../ui/panel.tsx';
import { Empty, ErrorState } from '../ui/states.tsx';
import type { Column } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import type { TabProps } from './source.tsx';

const rank: Record<string, number> = { certain: 0, likely: 1, possible: 2 };

export function AdvicePage({ page }: { page: Page }) {
  return (
    <>
      <div class="head">
        <h1>Advice</h1>
        <p class="facts">
          <span>found in the week before now</span>
        </p>
      </div>
      <AdviceOf page={page} />
    </>
  );
}

export function AdviceTab({ page, name }: TabProps) {
  return <AdviceOf page={page} source={name} />;
}

function Sure({ certainty }: { certainty: string }) {
  const tone = certainty === 'certain' ? 'bad' : certainty === 'likely' ? 'warn' : 'unknown';
  return (
    <span class={`mark ${tone}`}>
      <i aria-hidden="true" />
      {certainty}
    </span>
  );
}

function AdviceOf({ page, source }: { page: Page; source?: string }) {
  const [dismissed, setDismissed] = useState(false);
  const [shown, show] = useState<api.Advice | undefined>();
  const question = ask.advice(source, dismissed);
  const answer = useAsk(question, page.view.now);
  const columns: Column<api.Advice>[] = [
    {
      key: 'sure',
      title: 'Sure',
      value: (row) => rank[row.certainty] ?? 3,
      cell: (row) => <Sure certainty={row.certainty} />,
    },
    {
      key: 'what',
      title: 'What',
      class: 'grow',
      value: (row) => row.what,
      cell: (row) => (
        <div>
          <button type="button" class="link strong" onClick={() => show(row)}>
            {row.what}
          </button>
          {row.dismissed && (
            <div class="note">
              dismissed by {row.dismissed_by}
              {row.dismissed_reason && `: ${row.dismissed_reason}`}
            </div>
          )}
        </div>
      ),
    },
    { key: 'kind', title: 'Kind', value: (row) => row.kind },
    { key: 'database', title: 'Database', value: (row) => row.database_name },
  ];
  if (source === undefined) {
    columns.splice(1, 0, {
      key: 'source',
      title: 'Source',
      value: (row) => row.source_name,
      cell: (row) => <a href={sourceHref(row.source_id, 'advice')}>{row.source_name}</a>,
    });
  }
  columns.push({
    key: 'share',
    title: 'Of the time',
    numeric: true,
    wide: true,
    value: (row) => row.time_share ?? null,
    cell: (row) => (row.time_share === undefined ? '' : percent(row.time_share)),
  });
  const left = answer.data?.dismissed_count ?? 0;
  return (
    <>
      <TablePanel
        title="Advice"
        note={left > 0 ? `${left} dismissed` : ''}
        tools={
          <label class="check">
            <input
              type="checkbox"
              checked={dismissed}
              onChange={(event) => setDismissed(event.currentTarget.checked)}
            />
            Dismissed
          </label>
        }
        asks={[question]}
        answers={[answer]}
        columns={columns}
        rows={answer.data?.advice ?? []}
        rowKey={(row) => row.id}
        sort="sure"
        most={100}
        empty={<Empty title="Nothing is advised.">What could not be judged stands below.</Empty>}
      />
      <NotJudgedPanel question={question} answer={answer} source={source} />
      {shown && <Details page={page} advice={shown} onClose={() => show(undefined)} />}
    </>
  );
}

function NotJudgedPanel({
  question,
  answer,
  source,
}: {
  question: ask.Ask<api.ListAdviceResponse>;
  answer: ReturnType<typeof useAsk<api.ListAdviceResponse>>;
  source: string | undefined;
}) {
  const columns: Column<api.NotJudged>[] = [
    { key: 'kind', title: 'Kind', value: (row) => row.kind },
    { key: 'object', title: 'Object', value: (row) => [row.database_name, row.object].filter(Boolean).join(': ') },
    { key: 'why', title: 'Because', class: 'grow', value: (row) => row.why },
  ];
  if (source === undefined) columns.unshift({ key: 'source', title: 'Source', value: (row) => row.source_name });
  return (
    <TablePanel
      title="Not judged"
      asks={[question]}
      answers={[answer]}
      columns={columns}
      rows={answer.data?.not_judged ?? []}
      rowKey={(row) => row.source_id + row.kind + row.database_name + row.object + row.why}
      sort="kind"
      most={20}
      empty={<Empty title="All rules had an answer." />}
    />
  );
}

function Details({ page, advice, onClose }: { page: Page; advice: api.Advice; onClose: () => void }) {
  const [problem, run] = useRun();
  const [reason, setReason] = useState('');
  const mayChange = currentUser()?.role !== 'viewer';
  const at = (text: string | undefined) => (text ? dateTime(Date.parse(text), page.zone) : '');
  const facts: [string, string][] = [
    ['Source', advice.source_name],
    ['Database', advice.database_name],
    ['Object', advice.object],
    ['Kind', advice.kind],
    ['Sure', `${advice.certainty}: ${advice.certainty_reason}`],
    ['Interval', `${at(advice.start)} to ${at(advice.end)}, ${percent(advice.completeness)} covered`],
  ];
  return (
    <Dialog title={advice.what} onClose={onClose}>
      <ul>
        {advice.why.map((why) => (
          <li key={why}>{why}</li>
        ))}
      </ul>
      {advice.command && (
        <pre>
          <code>{advice.command}</code>
        </pre>
      )}
      {advice.instruction && <p class="runbook">{advice.instruction}</p>}
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
      {advice.query_id.map((id) => (
        <p key={id}>
          <a href={statementHref(advice.source_id, id)} onClick={onClose}>
            Statement {id}
          </a>
        </p>
      ))}
      {problem && <ErrorState error={problem} />}
      {mayChange && advice.dismissed && (
        <button
          type="button"
          onClick={() =>
            void run(async () => {
              await api.restoreAdvice({ id: advice.id });
              onClose();
            })
          }
        >
          Restore
        </button>
      )}
      {mayChange && !advice.dismissed && (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void run(async () => {
              await api.dismissAdvice({ id: advice.id, reason, source: advice.source_id });
              onClose();
            });
          }}
        >
          <label>
            Why not
            <input value={reason} onInput={(event) => setReason(event.currentTarget.value)} />
          </label>
          <button type="submit">Dismiss</button>
        </form>
      )}
    </Dialog>
  );
}
