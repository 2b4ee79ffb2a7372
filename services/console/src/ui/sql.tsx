import { oneLine, tokens } from './sqltext.ts';

// The API gives the first 500 characters of texts in lists.
const listed = 400;

// A text of a list as a title or in a file: whether there is more of it is seen.
export const cutText = (text: string, truncated: boolean): string => (truncated ? `${text}…` : text);

// A statement with its words coloured; `truncated` = there is more of it than `text`.
export function Sql({
  text,
  truncated = false,
  lines = false,
}: {
  text: string;
  truncated?: boolean;
  lines?: boolean;
}) {
  const line = lines ? text : oneLine(text);
  const short = lines || line.length <= listed;
  const parts = tokens(cutText(short ? line : line.slice(0, listed), truncated || !short));
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
