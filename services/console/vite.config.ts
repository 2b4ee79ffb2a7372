import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

// What must be passed on with the software that is bundled, as /licenses.txt.
function licenses(): Plugin {
  return {
    name: 'licenses',
    generateBundle() {
      const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
        dependencies: Record<string, string>;
      };
      let source = '';
      for (const [name, version] of Object.entries(dependencies)) {
        source += `${name} ${version}\n\n`;
        for (const file of ['LICENSE', 'NOTICE', 'swagger-ui-es-bundle.js.LICENSE.txt']) {
          const path = join('node_modules', name, file);
          if (existsSync(path)) source += `${readFileSync(path, 'utf8').trim()}\n\n`;
        }
      }
      this.emitFile({ type: 'asset', fileName: 'licenses.txt', source });
    },
  };
}

// The folder of the output is given by tools/console.sh (--outDir). Everything is a file of its own: the page's policy allows
// nothing inline. Names carry a hash of what is in them, so that they may be kept for ever.
export default defineConfig({
  plugins: [licenses()],
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    emptyOutDir: true,
    reportCompressedSize: false,
    // The viewer of the API is one file of its maker's.
    chunkSizeWarningLimit: 1800,
    rolldownOptions: {
      output: {
        entryFileNames: 'assets/[name]-[hash].js',
        chunkFileNames: 'assets/[name]-[hash].js',
        assetFileNames: 'assets/[name]-[hash][extname]',
      },
    },
  },
});
