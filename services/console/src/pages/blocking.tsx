// Who held whom, from when to when: over the range, and as a tree at an instant. Asks: the waits of the range.

import * as ask from '../api/asks.ts';
import type { BlockingEdge } from '../api/generated.ts';
import { useAsk } from '../state/query.ts';
import { clockTime, dateTime, duration } from '../state/time.ts';
import { milliseconds } from '../state/units.ts';
import { statementColumn } from '../ui/cells.tsx';
import { choose, chosenInstant, InstantBar } from '../ui/instant.tsx';
import { Panel } from '../ui/panel.tsx';
import { Sql } from '../ui/sql.tsx';
import { oneLine } from '../ui/sqltext.ts';
import { Empty } from '../ui/states.tsx';
import { type Column, tableData } from '../ui/table.tsx';
import { TablePanel } from '../ui/tablepanel.tsx';
import { end, keyOf, lanesOf, type Node, nameOf, start, treeOf, waitsAt, worstInstant } from '../ui/waits.ts';
import type { TabProps } from './source.tsx';

const shownLanes = 24;

export function BlockingTab({ page, name }: TabProps) {
  const { view, range, zone } = page;
  const question = ask.activityIn(range, [name]);
  const answer = useAsk(question, view.now);
  const edges = answer.data?.blocking ?? [];
  const chosen = chosenInstant(page);
  const at = chosen ?? worstInstant(edges) ?? range.end;
  const tree = treeOf(waitsAt(edges, at));
  const lanes = lanesOf(edges);
  const sampled = answer.data?.sources.some((source) => source.sampled) ?? false;
  const columns = columnsOf(zone);
  const total = edges.reduce((sum, edge) => sum + edge.blocked_seconds, 0);
  const x = (ms: number) =>
    ((Math.min(Math.max(ms, range.start), range.end) - range.start) / (range.end - range.start)) * 100;
  return (
    <>
      <Panel
        title="Waits over time"
        note={
          answer.data &&
          `${edges.length} waits, ${milliseconds(total * 1000)} waited in all${answer.data.blocking_found > edges.length ? `; the longest of ${answer.data.blocking_found}` : ''}`
        }
        asks={[question]}
        data={() => tableData(columns, edges)}
        error={answer.error}
        loading={answer.loading}
        skeleton={answer.data ? undefined : 160}
      >
        {edges.length === 0 ? (
          sampled ? (
            <Empty title="Nobody waited for a lock in this range." />
          ) : (
            <Empty title="Nothing was sampled in this range.">
              Whether anybody waited is not known. <code>pgactl freshness --source {name}</code> says what there is.
            </Empty>
          )
        ) : (
          <>
            <div class="lanes">
              {lanes.slice(0, shownLanes).map((lane) => (
                <div key={lane.key} class="lane">
                  <span class="lane-name" title={`${lane.label}\n${lane.text}`}>
                    {lane.label} <span class="note">{oneLine(lane.text)}</span>
                  </span>
                  <svg
                    class="lane-bars"
                    viewBox="0 0 100 16"
                    preserveAspectRatio="none"
                    role="img"
                    aria-label={`${lane.label} held ${lane.bars.length} waits, ${milliseconds(lane.seconds * 1000)} in all`}
                  >
                    <line x1={x(at)} x2={x(at)} y1="0" y2="16" class="lane-at" vector-effect="non-scaling-stroke" />
                    {lane.bars.map((edge, i) => (
                      // biome-ignore lint/a11y/noStaticElementInteractions: the slider below is the way for keys.
                      <rect
                        key={i}
                        x={x(start(edge))}
                        width={Math.max(x(end(edge)) - x(start(edge)), 0.25)}
                        y={3}
                        height={10}
                        class={edge.cycle ? 'cycle' : ''}
                        onClick={() => choose((start(edge) + end(edge)) / 2)}
                      >
                        <title>
                          {`${edge.blocked ? nameOf(edge.blocked) : ''} waited ${duration(edge.blocked_seconds * 1000)}, ${clockTime(start(edge), zone)} to ${edge.lasts ? 'now' : clockTime(end(edge), zone)}`}
                        </title>
                      </rect>
                    ))}
                  </svg>
                </div>
              ))}
              <div class="lane scale">
                <span class="lane-name note">
                  {lanes.length > shownLanes ? `and ${lanes.length - shownLanes} more` : 'who held others'}
                </span>
                <span class="lane-scale note">
                  <span>{dateTime(range.start, zone)}</span>
                  <span>{dateTime(range.end, zone)}</span>
                </span>
              </div>
            </div>
            <InstantBar page={page} at={at} chosen={chosen !== undefined} label="Instant of the tree" />
          </>
        )}
      </Panel>
      {edges.length > 0 && (
        <Panel
          title="Tree at that instant"
          note={chosen === undefined ? 'when most sessions waited' : undefined}
          asks={[question]}
        >
          {tree.length > 0 ? (
            <ul class="tree">
              {tree.map((node) => (
                <Branch key={node.key} node={node} at={at} zone={zone} />
              ))}
            </ul>
          ) : (
            <Empty title="Nobody waited at that instant." />
          )}
        </Panel>
      )}
      {edges.length > 0 && (
        <TablePanel
          title="Waits"
          asks={[question]}
          answers={[answer]}
          columns={columns}
          rows={edges}
          rowKey={(edge) => `${keyOf(edge.blocked)} ${keyOf(edge.blocking)} ${edge.from}`}
          sort="-seconds"
          most={50}
          empty={<Empty title="Nobody waited for a lock in this range." />}
        />
      )}
    </>
  );
}

function Branch({ node, at, zone }: { node: Node; at: number; zone: TabProps['page']['zone'] }) {
  const { party, edge } = node;
  return (
    <li>
      <div class="tree-row">
        <span class="strong">{nameOf(party)}</span>
        {edge ? (
          <span class="bad-text">
            waits {duration(at - start(edge))} for {edge.lock_mode} on {edge.relation || edge.lock_type}
            {edge.cycle && ', in a cycle'}
          </span>
        ) : (
          <span>
            {party.state}
            {party.transaction_start &&
              `, transaction since ${clockTime(Date.parse(party.transaction_start), zone)} (${duration(at - Date.parse(party.transaction_start))})`}
          </span>
        )}
        {node.waiting > 0 && <span class="note">holds {node.waiting}</span>}
      </div>
      {party.query_text && (
        <div class="tree-text">
          <Sql text={party.query_text} truncated={party.query_text_truncated} />
        </div>
      )}
      {node.children.length > 0 && (
        <ul>
          {node.children.map((child) => (
            <Branch key={child.key} node={child} at={at} zone={zone} />
          ))}
        </ul>
      )}
    </li>
  );
}

function columnsOf(zone: TabProps['page']['zone']): Column<BlockingEdge>[] {
  return [
    { key: 'from', title: 'From', value: (edge) => edge.from ?? '', cell: (edge) => dateTime(start(edge), zone) },
    {
      key: 'until',
      title: 'Until',
      value: (edge) => edge.until ?? '',
      cell: (edge) => (edge.lasts ? 'still waiting' : clockTime(end(edge), zone)),
    },
    {
      key: 'seconds',
      title: 'Waited',
      numeric: true,
      value: (edge) => edge.blocked_seconds,
      cell: (edge) => milliseconds(edge.blocked_seconds * 1000),
    },
    {
      key: 'blocked',
      title: 'Who waited',
      value: (edge) => (edge.blocked ? nameOf(edge.blocked) : ''),
      class: 'nowrap',
    },
    {
      key: 'blocking',
      title: 'for whom',
      value: (edge) => (edge.blocking ? nameOf(edge.blocking) : ''),
      class: 'nowrap',
    },
    {
      key: 'root',
      title: 'Root',
      wide: true,
      value: (edge) => (edge.root ? nameOf(edge.root) : 'cycle'),
      class: 'nowrap',
    },
    {
      key: 'lock',
      title: 'Lock',
      wide: true,
      value: (edge) => `${edge.lock_mode} on ${edge.relation || edge.lock_type}`,
    },
    { key: 'database', title: 'Database', wide: true, value: (edge) => edge.database_name },
    statementColumn(
      (edge) => edge.blocked,
      () => undefined,
      { title: 'What waited', wide: true },
    ),
  ];
}
