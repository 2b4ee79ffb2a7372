// First segments of the console's own paths. The gateway answers them with index.html; all others are files or the API's.
export const pageRoots = [
  's',
  'q',
  'alerts',
  'advice',
  'anomalies',
  'patterns',
  'collectors',
  'storage',
  'admin',
  'api-docs',
] as const;
