// Small marks of state, the same on every page: a word with its colour, never the colour alone.

const tones: Record<string, string> = {
  up: 'good',
  active: 'good',
  incomplete: 'warn',
  down: 'bad',
  error: 'bad',
  silent: 'unknown',
  offline: 'bad',
  firing: 'bad',
  pending: 'warn',
  resolved: 'good',
  monitoring: 'good',
  registering: 'warn',
  paused: 'unknown',
  registered: 'unknown',
  deregistered: 'unknown',
};

export function State({ state }: { state: string }) {
  return (
    <span class={`mark ${tones[state] ?? 'unknown'}`}>
      <i aria-hidden="true" />
      {state || 'unknown'}
    </span>
  );
}

// A part of a whole as a bar with its figure.
export function Share({ share, text }: { share: number | undefined; text: string }) {
  return (
    <span class="share">
      <span class="share-bar" aria-hidden="true">
        <i style={{ width: `${Math.min(Math.max((share ?? 0) * 100, 0), 100)}%` }} />
      </span>
      <span>{text}</span>
    </span>
  );
}

// Worst first: what is down, then what is unknown, then what is partly there.
export const severity: Record<string, number> = { down: 0, silent: 1, incomplete: 2, up: 3 };
