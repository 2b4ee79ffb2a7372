// The frame: who is signed in, which page, the bar with the range, keys.

import { useEffect, useState } from 'preact/hooks';
import * as ask from './api/asks.ts';
import { ApiError } from './api/client.ts';
import { currentUser, onSession, sessionState, signOut, startSession } from './api/session.ts';
import { AdminPage } from './pages/admin.tsx';
import { AdvicePage } from './pages/advice.tsx';
import { AlertsPage } from './pages/alerts.tsx';
import { AnomaliesPage } from './pages/anomalies.tsx';
import { ApiDocsPage } from './pages/apidocs.tsx';
import { CollectorPage, CollectorsPage } from './pages/collectors.tsx';
import { FleetPage } from './pages/fleet.tsx';
import { PatternsPage } from './pages/patterns.tsx';
import { SignIn } from './pages/signin.tsx';
import { SourcePage } from './pages/source.tsx';
import { StatementPage } from './pages/statement.tsx';
import { StoragePage } from './pages/storage.tsx';
import { type Page, SourcesContext } from './state/page.ts';
import { useAsk } from './state/query.ts';
import { applyTheme, type Theme, theme } from './state/theme.ts';
import { hrefTo, isRelative, onLinkClick, rangeOf, refreshNow, useView, zoneOf } from './state/url.ts';
import { RangeBar } from './ui/bar.tsx';
import { KeyHelp, useKeys } from './ui/keys.tsx';
import { Menu } from './ui/panel.tsx';
import { Search } from './ui/search.tsx';
import { Empty, ErrorState } from './ui/states.tsx';

// A part of the path; as it stands where it is no text in percent signs.
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function App() {
  const [session, see] = useState(sessionState());
  useEffect(() => {
    const stop = onSession(() => see(sessionState()));
    // It may be known already: effects of the parts of a page come before its own.
    see(sessionState());
    return stop;
  }, []);
  if (session === 'starting') return <Starting />;
  if (session === 'signed-out') return <SignIn />;
  return <Frame />;
}

// Until it is known who is signed in; with words when no answer comes.
function Starting() {
  const [away, setAway] = useState(false);
  const start = () => void startSession().catch(() => setAway(true));
  useEffect(start, []);
  return (
    <main class="starting">
      {away && <ErrorState error={new ApiError(0, 'The session cannot be renewed.')} />}
      {away && (
        <button type="button" onClick={start}>
          Try again
        </button>
      )}
    </main>
  );
}

function Frame() {
  const view = useView();
  const page: Page = { view, range: rangeOf(view), zone: zoneOf(view) };
  const sources = useAsk(ask.sources(), view.now);
  const [dialog, setDialog] = useState<'keys' | 'search' | undefined>();
  useKeys({ onHelp: () => setDialog('keys'), onSearch: () => setDialog('search') });

  const seconds = Number(view.query.get('refresh') ?? '');
  useEffect(() => {
    if (!(seconds >= 5)) return;
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible' && isRelative(view)) refreshNow();
    }, seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds, view]);

  useEffect(() => {
    document.addEventListener('click', onLinkClick);
    return () => document.removeEventListener('click', onLinkClick);
  }, []);

  const parts = view.path.split('/').filter(Boolean).map(decoded);
  const user = currentUser();
  const admin = user?.role === 'admin';
  const at = (root: string) => (parts[0] === root ? 'page' : undefined);
  const inFleet = parts.length === 0 || parts[0] === 's' || parts[0] === 'q';
  return (
    <SourcesContext.Provider value={sources}>
      <a class="skip" href="#main">
        Skip to the page
      </a>
      <header class="top">
        <a class="brand" href={hrefTo('/')}>
          pgAnalytics
        </a>
        <nav aria-label="Pages">
          <a href={hrefTo('/')} aria-current={inFleet ? 'page' : undefined}>
            Fleet
          </a>
          <a href={hrefTo('/alerts')} aria-current={at('alerts')}>
            Alerts
          </a>
          <a href={hrefTo('/advice')} aria-current={at('advice')}>
            Advice
          </a>
          <a href={hrefTo('/anomalies')} aria-current={at('anomalies')}>
            Anomalies
          </a>
          <a href={hrefTo('/patterns')} aria-current={at('patterns')}>
            Patterns
          </a>
          <a href={hrefTo('/collectors')} aria-current={at('collectors')}>
            Collectors
          </a>
          <a href={hrefTo('/storage')} aria-current={at('storage')}>
            Storage
          </a>
          {admin && (
            <a href={hrefTo('/admin')} aria-current={at('admin')}>
              Admin
            </a>
          )}
        </nav>
        <span class="space" />
        <button type="button" class="quiet search-open" onClick={() => setDialog('search')} title="Search (/)">
          Search <kbd>/</kbd>
        </button>
        <Menu label="Account and appearance" text={`${user?.username ?? 'account'} ▾`}>
          {(['system', 'light', 'dark'] as Theme[]).map((name) => (
            <button key={name} type="button" role="menuitem" onClick={() => applyTheme(name)}>
              {name === 'system' ? 'Theme of the system' : name === 'light' ? 'Light' : 'Dark'}
              {theme() === name ? ' ✓' : ''}
            </button>
          ))}
          <a role="menuitem" href={hrefTo('/api-docs')}>
            API
          </a>
          <button type="button" role="menuitem" onClick={() => setDialog('keys')}>
            Keys (?)
          </button>
          <button type="button" role="menuitem" onClick={() => void signOut().catch(() => undefined)}>
            Sign out
          </button>
        </Menu>
      </header>
      <RangeBar page={page} />
      <main id="main" tabIndex={-1}>
        <Route parts={parts} page={page} />
      </main>
      {dialog === 'keys' && <KeyHelp onClose={() => setDialog(undefined)} />}
      {dialog === 'search' && <Search page={page} onClose={() => setDialog(undefined)} />}
    </SourcesContext.Provider>
  );
}

function Route({ parts, page }: { parts: string[]; page: Page }) {
  const [root, name, tab, id] = parts;
  if (root === undefined) return <FleetPage page={page} />;
  if (root === 's' && name && tab === 'q' && id)
    return <StatementPage key={name + id} page={page} source={name} id={id} />;
  if (root === 's' && name && parts.length <= 3)
    return <SourcePage key={name} page={page} name={name} tab={tab ?? 'load'} />;
  if (root === 'q' && name && parts.length === 2) return <StatementPage key={name} page={page} id={name} />;
  if (root === 'alerts') return <AlertsPage page={page} />;
  if (root === 'advice') return <AdvicePage page={page} />;
  if (root === 'anomalies') return <AnomaliesPage page={page} />;
  if (root === 'patterns') return <PatternsPage page={page} />;
  if (root === 'collectors' && name) return <CollectorPage key={name} page={page} id={name} />;
  if (root === 'collectors') return <CollectorsPage page={page} />;
  if (root === 'storage') return <StoragePage page={page} />;
  if (root === 'admin') return <AdminPage page={page} />;
  if (root === 'api-docs') return <ApiDocsPage />;
  return <Empty title="There is no such page.">The fleet is at the top left.</Empty>;
}
