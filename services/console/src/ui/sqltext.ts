// Texts of statements: cut into words for colour, and broken into lines. Pure; a text stays data and is never HTML.

type TokenKind = 'keyword' | 'string' | 'number' | 'parameter' | 'comment' | 'name' | 'sign' | 'space';

export interface Token {
  kind: TokenKind;
  text: string;
}

const keywords = new Set(
  `add all alter analyze and any as asc begin between by case cast commit copy create cross cube current_date current_timestamp cursor
  deallocate declare default delete desc discard distinct do drop else end except execute exists explain fetch filter first for from
  full function grant group grouping having if ilike in index inner insert intersect interval into is isnull join key last lateral left
  like limit listen lock materialized merge natural not notnull null nulls of offset on only or order outer over partition prepare
  primary procedure recursive refresh reindex release returning revoke right rollback row rows savepoint schema select set share show
  sets table tablesample temporary then ties to transaction truncate union unique update using vacuum values view when where window
  with within work`.split(/\s+/),
);

const pattern =
  /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|('(?:[^']|'')*(?:'|$)|\$(\w*)\$[\s\S]*?(?:\$\3\$|$))|(\$\d+)|("(?:[^"]|"")*(?:"|$)|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)|(\d[\d_.eE]*)|(\s+)|([\s\S])/g;

export function tokens(sql: string): Token[] {
  const out: Token[] = [];
  for (const found of sql.matchAll(pattern)) {
    const [text, comment, string, , parameter, name, number, space] = found;
    if (comment) out.push({ kind: 'comment', text });
    else if (string) out.push({ kind: 'string', text });
    else if (parameter) out.push({ kind: 'parameter', text });
    else if (name) out.push({ kind: keywords.has(name.toLowerCase()) ? 'keyword' : 'name', text });
    else if (number) out.push({ kind: 'number', text });
    else if (space) out.push({ kind: 'space', text });
    else out.push({ kind: 'sign', text });
  }
  return out;
}

const clauses = new Set([
  'select',
  'from',
  'where',
  'group',
  'having',
  'order',
  'limit',
  'offset',
  'union',
  'intersect',
  'except',
  'values',
  'set',
  'returning',
  'window',
]);
const joins = new Set(['join', 'left', 'right', 'full', 'inner', 'cross', 'natural']);

// The text with its clauses on lines of their own; nothing but blanks is changed. Texts that have lines keep them.
export function format(sql: string): string {
  if (sql.includes('\n')) return sql;
  let out = '';
  const depth: boolean[] = [];
  let former = '';
  for (const token of tokens(sql)) {
    const word = token.kind === 'keyword' ? token.text.toLowerCase() : '';
    if (token.text === '(') depth.push(false);
    if (token.text === ')' && depth.pop()) out = `${out.trimEnd()}\n${'  '.repeat(indent(depth))}`;
    if (word === 'select' && depth.length > 0) depth[depth.length - 1] = true;
    const inside = depth.length === 0 || depth.at(-1) === true;
    const first = joins.has(word) ? !joins.has(former) && former !== 'outer' : clauses.has(word);
    // FOR UPDATE SET, IS DISTINCT FROM and the like are no clauses.
    const clause =
      inside && first && !(word === 'from' && former === 'distinct') && !(word === 'set' && former === 'update');
    if (clause && out.trim() !== '') out = `${out.trimEnd()}\n${'  '.repeat(indent(depth))}`;
    else if (inside && (word === 'and' || word === 'or') && former !== 'between')
      out = `${out.trimEnd()}\n${'  '.repeat(indent(depth) + 1)}`;
    out += token.kind === 'space' ? (out.endsWith('\n') || out.endsWith(' ') || out === '' ? '' : ' ') : token.text;
    if (token.kind !== 'space') former = word || (former === 'between' ? 'between' : '');
  }
  return out.trim();
}

function indent(depth: readonly boolean[]): number {
  return depth.filter(Boolean).length;
}

// One line for a row of a table.
export const oneLine = (sql: string): string => sql.replace(/\s+/g, ' ').trim();
