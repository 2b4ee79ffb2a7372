// One of several, beside its word: by, against, show.

interface Props {
  label: string;
  // The one that is chosen, by its key.
  value: string;
  options: readonly { key: string; title: string }[];
  onChoose: (key: string) => void;
}

export function Choice({ label, value, options, onChoose }: Props) {
  return (
    <label>
      <span class="note">{label} </span>
      <select value={value} onChange={(event) => onChoose(event.currentTarget.value)}>
        {options.map((option) => (
          <option key={option.key} value={option.key}>
            {option.title}
          </option>
        ))}
      </select>
    </label>
  );
}
