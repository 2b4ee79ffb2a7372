// Writes src/api/generated.ts: the messages of the protos as JSON shapes, and one function for each method with HTTP.
//   node tools/api.ts [folder of the protos]
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const protos = process.argv[2] ?? join(here, '../../../protos');
const target = join(here, '../src/api/generated.ts');
// What the console asks; the other areas are for programs.
const areas = ['auth', 'catalog', 'compactor', 'query', 'registry', 'ruler'];

interface Field {
  name: string;
  type: string;
  repeated: boolean;
  optional: boolean;
  key?: string;
  doc: string[];
}
interface Message {
  name: string;
  doc: string[];
  fields: Field[];
}
interface Method {
  name: string;
  request: string;
  response: string;
  stream: boolean;
  verb: string;
  path: string;
  body: string;
  doc: string[];
}

const messages = new Map<string, Message>();
const enums = new Map<string, string[]>();
const methods: Method[] = [];

const scalars: Record<string, string> = {
  bool: 'boolean',
  string: 'string',
  bytes: 'string',
  double: 'number',
  float: 'number',
  int32: 'number',
  uint32: 'number',
  sint32: 'number',
  fixed32: 'number',
  int64: 'string',
  uint64: 'string',
  sint64: 'string',
};

function read(path: string) {
  const lines = readFileSync(path, 'utf8').split('\n');
  let doc: string[] = [];
  let message: Message | undefined;
  let values: string[] | undefined;
  let method: Method | undefined;
  for (const line of lines) {
    const text = line.trim();
    const found = {
      comment: /^\/\/ ?(.*)$/.exec(text),
      message: /^message (\w+) \{(\})?$/.exec(text),
      enum: /^enum (\w+) \{$/.exec(text),
      value: /^(\w+) = \d+( \[.*\])?;$/.exec(text),
      map: /^map<(\w+), ([\w.]+)> (\w+) = \d+;$/.exec(text),
      field: /^(repeated |optional )?([\w.]+) (\w+) = \d+( \[.*\])?;$/.exec(text),
      rpc: /^rpc (\w+)\(([\w.]+)\) returns \((stream )?([\w.]+)\) \{$/.exec(text),
      http: /option \(google\.api\.http\) = \{(\w+): "([^"]+)"(?: body: "([^"]*)")?(?:\}|$)/.exec(text),
    };
    if (found.comment) {
      doc.push(found.comment[1] ?? '');
      continue;
    }
    if (found.message) {
      message = { name: found.message[1] as string, doc, fields: [] };
      messages.set(message.name, message);
      if (found.message[2]) message = undefined;
    } else if (found.enum) {
      values = [];
      enums.set(found.enum[1] as string, values);
    } else if (found.rpc) {
      const [, name, request, stream, response] = found.rpc as unknown as string[];
      method = { name, request, response, stream: stream !== undefined, verb: '', path: '', body: '', doc } as Method;
    } else if (found.http && method) {
      method.verb = (found.http[1] as string).toUpperCase();
      method.path = found.http[2] as string;
      method.body = found.http[3] ?? '';
      methods.push(method);
    } else if (values && found.value) {
      values.push(found.value[1] as string);
    } else if (message && found.map) {
      message.fields.push({
        name: found.map[3] as string,
        type: found.map[2] as string,
        key: found.map[1] as string,
        repeated: false,
        optional: false,
        doc,
      });
    } else if (message && found.field) {
      const label = found.field[1] ?? '';
      message.fields.push({
        name: found.field[3] as string,
        type: found.field[2] as string,
        repeated: label === 'repeated ',
        optional: label === 'optional ',
        doc,
      });
    } else if (text === '}') {
      if (method) method = undefined;
      else if (values) values = undefined;
      else message = undefined;
    }
    doc = [];
  }
}

const short = (type: string) => type.slice(type.lastIndexOf('.') + 1);

function typeOf(type: string): string {
  if (scalars[type]) return scalars[type];
  if (type === 'google.protobuf.Timestamp') return 'string';
  if (type === 'google.api.HttpBody') return 'string';
  if (type.startsWith('google.')) return 'unknown';
  return short(type);
}

const comment = (doc: string[], indent: string) => doc.map((line) => `${indent}// ${line}`.trimEnd() + '\n').join('');

for (const area of areas) {
  const folder = join(protos, 'pganalytics', area, 'v1');
  for (const file of readdirSync(folder)
    .filter((name) => name.endsWith('.proto'))
    .sort())
    read(join(folder, file));
}
methods.sort((a, b) => a.name.localeCompare(b.name));

// What the methods reach.
const wanted = new Set<string>();
const reach = (type: string) => {
  const name = short(type);
  if (wanted.has(name) || type.startsWith('google.')) return;
  if (enums.has(name)) wanted.add(name);
  const message = messages.get(name);
  if (!message) return;
  wanted.add(name);
  for (const field of message.fields) reach(field.type);
};
for (const method of methods) {
  reach(method.request);
  reach(method.response);
}

let out =
  "// Made by tools/api.ts from the protos; not to be edited.\nimport { type CallOptions, call } from './client.ts';\n\n";
for (const name of [...wanted].sort()) {
  const values = enums.get(name);
  if (values) {
    out += `export type ${name} = ${values.map((value) => `'${value}'`).join(' | ')};\n\n`;
    continue;
  }
  const message = messages.get(name) as Message;
  const isRequest = methods.some((method) => short(method.request) === name);
  out += `${comment(message.doc, '')}export interface ${name} {\n`;
  for (const field of message.fields) {
    let type = typeOf(field.type);
    if (field.key) type = `Record<string, ${type}>`;
    if (field.repeated) type = `${type}[]`;
    const plain =
      field.key !== undefined || field.repeated || scalars[field.type] !== undefined || enums.has(short(field.type));
    const maybe = isRequest || field.optional || !plain;
    out += `${comment(field.doc, '  ')}  ${field.name}${maybe ? '?' : ''}: ${type};\n`;
  }
  out += '}\n\n';
}
for (const method of methods) {
  const name = method.name[0]?.toLowerCase() + method.name.slice(1);
  const response = typeOf(method.response) + (method.stream ? '[]' : '');
  out += `${comment(method.doc, '')}export const ${name} = (request: ${typeOf(method.request)}, options?: CallOptions): Promise<${response}> =>\n`;
  out += `  call<${response}>('${method.verb}', '${method.path}', '${method.body}', request, options);\n\n`;
}
mkdirSync(dirname(target), { recursive: true });
writeFileSync(target, out);
