import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileName, toCsv } from './csv.ts';
import { format, oneLine, tokens } from './sqltext.ts';

test('CSV is quoted, and no cell is a formula', () => {
  assert.equal(
    toCsv(
      ['a', 'b'],
      [
        ['x,y', 1.5],
        ['say "no"', null],
        ['=cmd()', -3],
        ['-4', 'two\nlines'],
      ],
    ),
    'a,b\r\n"x,y",1.5\r\n"say ""no""",\r\n\'=cmd(),-3\r\n-4,"two\nlines"\r\n',
  );
  assert.equal(fileName('Top statements of this span', 'csv'), 'top-statements-of-this-span.csv');
});

const texts = [
  'SELECT \'it\'\'s -- no comment\', "Col""umn", $1, 1.5e3 FROM t -- end',
  'select $body$ select 1; $body$, $tag$x$tag$',
  "insert into t values ('unfinished",
  '/* open comment',
  '<script>alert(1)</script>',
  'UPDATE t SET a = a + $1 WHERE b BETWEEN $2 AND $3 AND c = $4',
  '',
];

test('no byte of a text is lost', () => {
  for (const text of texts)
    assert.equal(
      tokens(text)
        .map((token) => token.text)
        .join(''),
      text,
    );
});

test('formatting changes blanks alone', () => {
  for (const text of texts) assert.equal(format(text).replace(/\s+/g, ''), text.replace(/\s+/g, ''));
});

test('clauses begin lines', () => {
  assert.equal(
    format(
      'SELECT a, count(*) FROM t JOIN u USING (id) LEFT JOIN v ON v.x = t.x WHERE a > $1 AND b IN (SELECT c FROM w WHERE d = $2) ORDER BY 2 DESC LIMIT 5',
    ),
    `SELECT a, count(*)
FROM t
JOIN u USING (id)
LEFT JOIN v ON v.x = t.x
WHERE a > $1
  AND b IN (
  SELECT c
  FROM w
  WHERE d = $2
)
ORDER BY 2 DESC
LIMIT 5`,
  );
  assert.equal(format('select 1\nfrom t'), 'select 1\nfrom t');
  assert.match(format('UPDATE t SET a = 1 WHERE b BETWEEN 1 AND 2 AND c = 3'), /BETWEEN 1 AND 2\n {2}AND c/);
  assert.equal(oneLine(' a\n  b '), 'a b');
});
