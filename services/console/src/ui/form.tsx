// Dialogs that make something: fields, one button, and what the suite says against it.

import type { ComponentChildren, ComponentProps } from 'preact';
import { useState } from 'preact/hooks';
import { ApiError } from '../api/client.ts';
import { refreshNow } from '../state/url.ts';
import { Dialog } from './panel.tsx';

interface FieldProps {
  label: string;
  name: string;
  type?: 'text' | 'email' | 'password' | 'number';
  value?: string;
  required?: boolean;
  minLength?: number;
}

export function Field({ label, name, type = 'text', value, required = true, minLength }: FieldProps) {
  return (
    <label>
      {label}
      <input
        {...({
          name,
          type,
          required,
          minLength,
          defaultValue: value,
          autocomplete: 'off',
        } as ComponentProps<'input'>)}
      />
    </label>
  );
}

export function Form({
  title,
  action,
  onClose,
  children,
}: {
  title: string;
  action: (fields: FormData) => Promise<void>;
  onClose: () => void;
  children: ComponentChildren;
}) {
  const [problem, setProblem] = useState('');
  const [busy, setBusy] = useState(false);
  return (
    <Dialog title={title} onClose={onClose}>
      <form
        class="fields"
        onSubmit={async (event) => {
          event.preventDefault();
          setBusy(true);
          setProblem('');
          try {
            await action(new FormData(event.currentTarget));
            onClose();
            refreshNow();
          } catch (error) {
            setProblem(error instanceof ApiError ? error.message : String(error));
            setBusy(false);
          }
        }}
      >
        {children}
        <p class="error" role="alert">
          {problem}
        </p>
        <button type="submit" class="primary" disabled={busy}>
          {title}
        </button>
      </form>
    </Dialog>
  );
}

export const text = (fields: FormData, name: string) => String(fields.get(name) ?? '').trim();
