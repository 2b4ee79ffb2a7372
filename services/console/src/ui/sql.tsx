import { oneLine, tokens } from './sqltext.ts';

// A statement with its words coloured.
export function Sql({ text, lines = false }: { text: string; lines?: boolean }) {
  const parts = tokens(lines ? text : oneLine(text).slice(0, 400));
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
