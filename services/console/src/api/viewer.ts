// Swagger UI over the suite's own document, as a chunk of its own. There is one for all visits of the page by one person: it keeps
// what was opened, typed and answered, until they sign out.

import { signedFetch } from './client.ts';
import { currentUser, onSession } from './session.ts';

export const documentPath = '/api/v1/openapi.json';

let made: Promise<HTMLElement> | undefined;
// Whose answers it holds.
let owner: string | undefined;

onSession(() => {
  if (currentUser()?.username !== owner) made = undefined;
});

export function showViewer(): Promise<HTMLElement> {
  owner = currentUser()?.username;
  made ??= make().catch((error: unknown) => {
    made = undefined;
    throw error;
  });
  return made;
}

async function make(): Promise<HTMLElement> {
  const [{ default: SwaggerUI }] = await Promise.all([
    import('swagger-ui-dist/swagger-ui-es-bundle.js'),
    import('./viewer.css'),
  ]);
  const element = document.createElement('div');
  element.className = 'viewer';
  await new Promise<void>((ready) => {
    SwaggerUI({
      url: documentPath,
      domNode: element,
      docExpansion: 'none',
      defaultModelsExpandDepth: 0,
      defaultModelRendering: 'example',
      displayRequestDuration: true,
      filter: true,
      syntaxHighlight: false,
      // Else the address of the document goes to a service of the maker.
      validatorUrl: null,
      requestInterceptor: (request) => {
        request.userFetch = signedFetch;
        // The line for a shell names the token and does not hold it.
        request.curlOptions = ['-H "Authorization: Bearer $TOKEN"'];
        return request;
      },
      plugins: [ours],
      onComplete: ready,
    });
  });
  return element;
}

// What this API has no use for, and a block of code that is reached and scrolled by keys.
const nothing = () => () => null;
const ours = () => ({
  wrapComponents: {
    // One server, this one; and the session in place of a token that is typed in.
    ServersContainer: nothing,
    SchemesContainer: nothing,
    AuthorizeBtnContainer: nothing,
    authorizeOperationBtn: nothing,
    InfoContainer: nothing,
    HighlightCode:
      (Original: unknown, { React }: { React: { createElement: (...of: unknown[]) => unknown } }) =>
      (props: object) =>
        React.createElement('div', { className: 'viewer-code', tabIndex: 0 }, React.createElement(Original, props)),
  },
});
