// Colours of data. Wait classes keep theirs on every page; they differ in lightness as well, and their order is fixed.

interface WaitClass {
  // As the API names it; '' is running.
  key: string;
  name: string;
  color: string;
}

export const idleInTransaction = 'idle in transaction';

// From the bottom of the stack.
const waitClasses: readonly WaitClass[] = [
  { key: '', name: 'CPU', color: '#2f9e5f' },
  { key: 'IO', name: 'IO', color: '#3b78d4' },
  { key: 'Lock', name: 'Lock', color: '#d23f3f' },
  { key: 'LWLock', name: 'LWLock', color: '#ea8f2c' },
  { key: 'IPC', name: 'IPC', color: '#8459cf' },
  { key: 'Client', name: 'Client', color: '#8d969f' },
  { key: 'Timeout', name: 'Timeout', color: '#8f6a48' },
  { key: 'BufferPin', name: 'BufferPin', color: '#d867ab' },
  { key: 'Extension', name: 'Extension', color: '#23a19b' },
  { key: 'Activity', name: 'Activity', color: '#b3b9a2' },
  { key: idleInTransaction, name: 'idle in transaction', color: '#f0a09c' },
];

const byKey = new Map(waitClasses.map((one, order) => [one.key, { ...one, order }]));

export function waitClass(key: string): WaitClass & { order: number } {
  return byKey.get(key) ?? { key, name: key, color: '#5f7f95', order: waitClasses.length };
}

// For all else: distinguished by colour-blind people, in this order.
const palette = [
  '#3b78d4',
  '#ea8f2c',
  '#2f9e5f',
  '#8459cf',
  '#23a19b',
  '#d867ab',
  '#8f6a48',
  '#c2a21b',
  '#5f7f95',
  '#d23f3f',
] as const;
export const otherColor = '#aab1b8';

export const colorAt = (index: number): string => palette[index % palette.length] as string;
