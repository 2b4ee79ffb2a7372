// The page of the API: reached from the menu, routes by service, the shape of an answer, a request that is sent with the session and
// shows what came, by keys alone and on a phone. The caller counts complaints of the browser and requests to other hosts.
import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import type { Tools } from './tasks.ts';

interface ApiTools extends Tools {
  accessible: (page: Page, name: string) => Promise<void>;
  picture: (page: Page, name: string, fullPage?: boolean) => Promise<void>;
}

export async function walkApiDocs(page: Page, tools: ApiTools) {
  const { base, check, accessible, picture } = tools;
  const loaded: string[] = [];
  const count = (request: { url: () => string }) => void loaded.push(new URL(request.url()).pathname);
  page.on('request', count);
  await page.goto(`${base}/`);
  await tools.settled(page);
  check(
    'no other page loads the viewer of the API',
    !loaded.some((path) => path.includes('swagger')),
    loaded.filter((path) => path.startsWith('/assets/')),
  );
  await page.getByTitle('Account and appearance').click();
  await page.getByRole('menuitem', { name: 'API', exact: true }).click();
  await tools.settled(page);
  page.off('request', count);

  const described = (await (await fetch(`${base}/api/v1/openapi.json`)).json()) as {
    paths: Record<string, Record<string, { tags: string[] }>>;
  };
  const operations = Object.entries(described.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([verb, { tags }]) => ({ tag: tags[0] ?? '', line: `${verb.toUpperCase()} ${path}` })),
  );
  const services = [...new Set(operations.map((one) => one.tag))].sort();
  const shown = await page.$$eval('.opblock-tag', (all) => all.map((one) => one.getAttribute('data-tag') ?? ''));
  check(`API: the ${services.length} services of the document`, shown.sort().join() === services.join(), shown);

  await page.locator('.opblock-tag[data-tag=QueryService]').click();
  await page.waitForSelector('.opblock');
  const lines = await page.$$eval('.opblock', (all) =>
    all.map((one) => {
      const path = one.querySelector('.opblock-summary-path')?.textContent ?? '';
      return `${one.querySelector('.opblock-summary-method')?.textContent} ${path.replaceAll('\u200b', '')}`;
    }),
  );
  const expected = operations.filter((one) => one.tag === 'QueryService').map((one) => one.line);
  check(`API: its ${expected.length} routes`, lines.sort().join() === expected.sort().join(), lines);

  // By keys alone.
  await page.locator('.opblock-tag[data-tag=RegistryService]').click();
  const route = page.locator('#operations-RegistryService-RegistryService_ListSources');
  await route.locator('.opblock-summary-control').focus();
  await page.keyboard.press('Enter');
  await route.getByRole('button', { name: 'Try it out' }).focus();
  await page.keyboard.press('Enter');
  await route.getByRole('button', { name: 'Execute' }).focus();
  // The first answer says that the token is no longer good: the session is renewed and the request sent again.
  let refused = 0;
  await page.route(
    '**/api/v1/sources',
    (call) => {
      refused += 1;
      return call.fulfill({
        status: 401,
        json: { error: 'Unauthorized', code: 401, message: 'ended', request_id: 'x' },
      });
    },
    { times: 1 },
  );
  const answered = page.waitForResponse(
    (response) => new URL(response.url()).pathname === '/api/v1/sources' && response.status() === 200,
  );
  await page.keyboard.press('Enter');
  const answer = await answered;
  check('API: the request is sent with the session', (await answer.request().headerValue('authorization')) !== null);
  check('API: again after a renewal', refused === 1, refused);
  const live = route.locator('.live-responses-table');
  await live.waitFor();
  check('API: the status', (await live.locator('.response-col_status').last().textContent())?.includes('200') ?? false);
  const body = (await live.locator('.viewer-code').first().textContent()) ?? '';
  check('API: the real answer', body.includes(`"name": "${tools.source}"`), body);
  const line = (await route.locator('.curl-command').textContent()) ?? '';
  check('API: the line for a shell names the token', line.includes('Bearer $TOKEN'), line);
  check('API: and no token is shown', !((await page.textContent('main')) ?? '').includes('eyJ'));
  const [file] = await Promise.all([page.waitForEvent('download'), live.locator('.download-contents').click()]);
  check('API: the answer as a file', readFileSync(await file.path(), 'utf8').includes(tools.source));

  // The shape of an answer; and a refusal, as the API says it.
  const top = page.locator('#operations-QueryService-QueryService_TopQueries');
  await top.locator('.opblock-summary-control').click();
  await top
    .getByRole('tab', { name: 'Schema' })
    .or(top.getByRole('button', { name: 'Schema' }))
    .first()
    .click();
  const schema = (await top.locator('.json-schema-2020-12').first().textContent()) ?? '';
  check('API: the schema of an answer', schema.includes('queries') && schema.includes('completeness'), schema);
  await top.getByRole('button', { name: 'Try it out' }).click();
  await top.locator('tr[data-param-name=order_by] input').fill('nothing');
  await top.getByRole('button', { name: 'Execute' }).click();
  const refusal = top.locator('.live-responses-table .response-col_status', { hasText: '400' });
  await refusal.waitFor();
  check(
    'API: a refusal says what to change',
    /order_by/.test((await top.locator('.live-responses-table').textContent()) ?? ''),
  );

  for (const theme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: theme, reducedMotion: 'reduce' });
    await accessible(page, `API with routes open, ${theme}`);
    await picture(page, `api-open-${theme}`);
  }
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  check('API with routes open fits 360 px', wide <= 360, wide);
  await picture(page, 'api-open-phone');
  await page.setViewportSize({ width: 1440, height: 900 });

  // What was opened is there again, and once.
  await page.getByRole('link', { name: 'Alerts' }).click();
  await tools.settled(page);
  await page.goBack();
  await tools.settled(page);
  check('API: the page comes back as it was left', (await page.locator('.opblock.is-open').count()) === 2);
  check('API: there is one viewer', (await page.locator('.swagger-ui').count()) === 1);
}

// The page is open and a request was answered. Another person who signs in at the same tab sees nothing of it.
export async function nextPerson(page: Page, tools: Tools, username: string, password: string) {
  await page.goto(`${tools.base}/api-docs`);
  await tools.settled(page);
  await page.locator('.opblock-tag[data-tag=RegistryService]').click();
  const route = page.locator('#operations-RegistryService-RegistryService_ListSources');
  await route.locator('.opblock-summary-control').click();
  await route.getByRole('button', { name: 'Try it out' }).click();
  await route.getByRole('button', { name: 'Execute' }).click();
  await route.locator('.live-responses-table').waitFor();
  await page.getByTitle('Account and appearance').click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.fill('input[name=username]', username);
  await page.fill('input[name=password]', password);
  await page.click('button[type=submit]');
  await page.waitForSelector('.opblock-tag');
  tools.check(
    'API: the next person at a tab sees no answers of the one before',
    (await page.locator('.opblock, .live-responses-table').count()) === 0,
    await page.locator('.opblock').allTextContents(),
  );
}
