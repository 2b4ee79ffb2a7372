// Writes what Vite built as a C++ file for the gateway, compressed ahead of time:
//   node tools/embed.ts <folder of the site> <file.cc>
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, extname, join, relative } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { pageRoots } from '../src/routes.ts';

const [site, target] = process.argv.slice(2);
if (!site || !target) throw new Error('usage: node tools/embed.ts <folder of the site> <file.cc>');

const types: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

const files = readdirSync(site, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name))
  .sort();

// Printable bytes as they are, all others in octal, which ends after three digits.
function literal(bytes: Buffer): string {
  let out = '';
  let line = '"';
  for (const byte of bytes) {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c && byte !== 0x3f;
    line += plain ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`;
    if (line.length > 4000) {
      out += `${line}"\n`;
      line = '"';
    }
  }
  return `${out}${line}"`;
}

let total = 0;
let first = 0;
const index = readFileSync(join(site, 'index.html'), 'utf8');
const rows = files.map((file) => {
  const path = `/${relative(site, file)}`;
  const type = types[extname(file)];
  if (!type) throw new Error(`${path}: no media type is known for this ending`);
  const plain = readFileSync(file);
  const gzip = gzipSync(plain, { level: 9 });
  const brotli = brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  const tag = createHash('sha256').update(plain).digest('hex').slice(0, 32);
  total += gzip.length;
  if (path === '/index.html' || index.includes(path)) first += gzip.length;
  console.log(`${path}: ${plain.length} bytes, ${gzip.length} with gzip, ${brotli.length} with brotli`);
  // A name with a hash never stands for other bytes.
  const immutable = path.startsWith('/assets/');
  return `    {"${path}", "${type}", "\\"${tag}\\"", ${immutable}, ${plain.length},\n     std::string_view(\n${literal(gzip)}, ${gzip.length}),\n     std::string_view(\n${literal(brotli)}, ${brotli.length})},\n`;
});
console.log(`all: ${total} bytes with gzip, of which a first visit loads ${first}`);

mkdirSync(dirname(target), { recursive: true });
writeFileSync(
  target,
  `// Made by services/console/tools/embed.ts.
#include "services/gateway/console_files.h"

namespace pga::gateway {
namespace {

constexpr ConsoleFile kFiles[] = {
${rows.join('')}};
constexpr std::string_view kPageRoots[] = {${pageRoots.map((root) => `"${root}"`).join(', ')}};

}  // namespace

std::span<const ConsoleFile> EmbeddedConsoleFiles() { return kFiles; }
std::span<const std::string_view> EmbeddedConsolePageRoots() { return kPageRoots; }

}  // namespace pga::gateway
`,
);
