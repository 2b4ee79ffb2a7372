// What a DBA comes for, walked from the fleet page by clicks alone: each has to be answered within three. Prints clicks and
// seconds. And the memory of a tab that is refreshed over and over.
import type { BrowserContext, Page } from 'playwright-core';

export interface Tools {
  base: string;
  // Name of the watched server.
  source: string;
  check: (name: string, good: boolean, detail?: unknown) => void;
  settled: (page: Page) => Promise<void>;
}

interface Task {
  question: string;
  from: string;
  // The tab that answers.
  tab: string;
  // One more click, where the tab alone does not answer.
  last?: (page: Page) => Promise<void>;
  // The panel that answers, and what stands in it.
  panel: string;
  answer: RegExp;
}

const tasks: readonly Task[] = [
  {
    question: 'what got slower since',
    from: '-30s',
    tab: 'Statements',
    panel: 'Statements',
    answer: /[+−]\d[\d.,]*\s?%|×\d|new/,
  },
  {
    question: 'who blocked whom, from when to when',
    from: '-15m',
    tab: 'Blocking',
    panel: 'Waits',
    answer: /\d\d:\d\d:\d\d.*migration/s,
  },
  {
    question: 'waits at an instant',
    from: '-2m',
    tab: 'Activity',
    last: (page) => page.getByRole('button', { name: '−1 s' }).click(),
    panel: 'At that instant',
    answer: /active/,
  },
  {
    question: 'unused indexes',
    from: '-15m',
    tab: 'Indexes',
    last: async (page) => {
      await page.locator('.panel[aria-label=Indexes] select').selectOption('unused');
    },
    panel: 'Indexes',
    answer: /never_used.*DROP INDEX CONCURRENTLY public\.never_used/s,
  },
  { question: 'what needs vacuum', from: '-15m', tab: 'Vacuum', panel: 'Vacuum due', answer: /kept_rows/ },
  {
    question: 'who holds dead rows',
    from: '-15m',
    tab: 'Vacuum',
    panel: 'What holds dead rows back',
    answer: /backend \d+.*report.*pg_terminate_backend/s,
  },
  { question: 'replication lag', from: '-15m', tab: 'Replication', panel: 'Receivers', answer: /archive.*\d.*B/s },
  {
    question: 'a slot that keeps WAL',
    from: '-15m',
    tab: 'Replication',
    panel: 'Slots',
    answer: /kept_for_test.*keeps WAL for nobody.*B/s,
  },
  {
    question: 'hit ratio',
    from: '-15m',
    tab: 'Databases',
    panel: 'Databases',
    answer: /hit ratio of all [\d.]+\u2009%/,
  },
  {
    question: 'connections',
    from: '-15m',
    tab: 'Connections',
    panel: 'Who is connected',
    answer: /sessions.*% of max_connections/s,
  },
  {
    question: 'settings that changed',
    from: '-15m',
    tab: 'Changes',
    panel: 'What changed',
    answer: /work_mem.*4\u2009MiB.*8\u2009MiB/s,
  },
  { question: 'disk', from: '-15m', tab: 'Host', panel: 'Space available', answer: /[KMGT]iB/ },
  { question: 'deadlocks', from: '-15m', tab: 'Databases', panel: 'Deadlocks', answer: /shop[\d.]*[1-9]/ },
  {
    question: 'a sequence near its end',
    from: '-15m',
    tab: 'Tables',
    panel: 'Sequences',
    answer: /nearly_done.*9[0-9]/s,
  },
];

export async function walkTasks(page: Page, { base, source, check, settled }: Tools) {
  for (const task of tasks) {
    await page.goto(`${base}/?from=${task.from}&tz=utc`);
    await settled(page);
    const began = performance.now();
    let clicks = 0;
    const click = async (work: () => Promise<void>) => {
      clicks++;
      await work();
      await settled(page);
    };
    await click(() => page.locator('.table tbody').getByRole('link', { name: source, exact: true }).click());
    await click(() => page.locator('nav.tabs').getByRole('link', { name: task.tab, exact: true }).click());
    const { last } = task;
    if (last) await click(() => last(page));
    const shown = (await page.locator(`.panel[aria-label="${task.panel}"]`).textContent()) ?? '';
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    check(
      `task: ${task.question}: ${clicks} clicks, ${seconds} s`,
      task.answer.test(shown) && clicks <= 3,
      shown || (await page.textContent('main')),
    );
  }
}

// Refreshes a page again and again, its answers kept from the first round so that it goes fast, and tells the heap of scripts
// after a collection at the start and at the end.
export async function watchMemory(context: BrowserContext, tools: Tools, refreshes: number) {
  const { base, source, check, settled } = tools;
  const page = await context.newPage();
  // Small: it is about memory, not about pixels.
  await page.setViewportSize({ width: 400, height: 300 });
  await page.addInitScript(() => {
    const real = window.fetch;
    const kept = new Map<string, { status: number; body: string; type: string }>();
    window.fetch = async (input, init) => {
      if ((init?.method ?? 'GET') !== 'GET') return real(input, init);
      // The same question but for its instants.
      const key = String(input).replace(/([?&])(start|end|at)=[^&]*/g, '$1');
      let answer = kept.get(key);
      if (!answer) {
        const response = await real(input, init);
        answer = {
          status: response.status,
          body: await response.text(),
          type: response.headers.get('content-type') ?? '',
        };
        kept.set(key, answer);
      }
      return new Response(answer.body, { status: answer.status, headers: { 'content-type': answer.type } });
    };
  });
  await page.goto(`${base}/s/${encodeURIComponent(source)}?from=-15m`);
  await settled(page);
  const session = await context.newCDPSession(page);
  const heap = async () => {
    await session.send('HeapProfiler.collectGarbage');
    const { usedSize } = (await session.send('Runtime.getHeapUsage')) as { usedSize: number };
    return usedSize / 2 ** 20;
  };
  // One after the other, each when the page has drawn the one before.
  const refresh = (times: number) =>
    page.evaluate(async (rounds) => {
      const button = [...document.querySelectorAll<HTMLButtonElement>('.bar button')].find(
        (one) => one.textContent === 'Refresh',
      );
      const frame = () => new Promise((drawn) => requestAnimationFrame(drawn));
      for (let round = 0; round < rounds; round++) {
        button?.click();
        do await frame();
        while (document.querySelector('.skeleton, [aria-busy=true]'));
      }
    }, times);
  await refresh(20);
  const start = await heap();
  const began = performance.now();
  await refresh(refreshes);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const end = await heap();
  check(
    `memory: ${start.toFixed(1)} MiB of scripts' heap, ${end.toFixed(1)} MiB after ${refreshes} refreshes in ${seconds} s`,
    end < start * 1.25 + 2,
    `${start} -> ${end}`,
  );
  await page.close();
}
