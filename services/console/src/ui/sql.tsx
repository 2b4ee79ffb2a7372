import { oneLine, tokens } from './sqltext.ts';

// Lists ask for the beginning of texts (500 characters).
const listed = 400;

// A statement with its words coloured.
export function Sql({ text, lines = false }: { text: string; lines?: boolean }) {
  const line = lines ? text : oneLine(text);
  const parts = tokens(lines || line.length <= listed ? line : `${line.slice(0, listed)}…`);
  return (
    <code class="sql">
      {parts.map((token, i) =>
        token.kind === 'space' || token.kind === 'name' || token.kind === 'sign' ? (
          token.text
        ) : (
          <span key={i} class={token.kind}>
            {token.text}
          </span>
        ),
      )}
    </code>
  );
}
