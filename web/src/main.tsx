/** Where the page is put together: the only file that makes what lives as long as the page. */
import '@fontsource-variable/atkinson-hyperlegible-next/index.css'
import '@fontsource-variable/atkinson-hyperlegible-mono/index.css'
import './ui/tokens.css'
import './ui/elements.css'
import './ui/controls.css'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { createRoot } from 'react-dom/client'
import { I18nProvider as AriaLocale } from 'react-aria-components'
import { I18nextProvider } from 'react-i18next'
import { App } from './app/App'
import { FaultBoundary } from './app/FaultBoundary'
import { OpenSessions, OpenSessionsContext } from './chat/open-sessions'
import { HighlighterContext } from './chat/markdown/highlight'
import { createWorkerHighlighter } from './chat/markdown/worker-highlighter'
import { createAccount, takeLinkCode } from './connection/account'
import { AccountContext } from './connection/account-context'
import { ApiError } from './connection/api'
import { createI18n, localeOf } from './i18n/i18n'
import { applyPreferences, createPreferences, PreferencesContext } from './settings/preferences'
import { Announcer } from './ui/announcer'

async function start(root: HTMLElement): Promise<void> {
  const linkCode = takeLinkCode(location, history)
  const preferences = createPreferences()
  const locale = localeOf(preferences.getState().locale, navigator.languages)
  const i18n = await createI18n(locale)
  const account = createAccount()
  const openSessions = new OpenSessions(account.api)
  const highlighter = createWorkerHighlighter()
  const queries = new QueryClient({
    defaultOptions: {
      queries: { retry: (failures, error) => !(error instanceof ApiError) && failures < 2 },
    },
  })
  document.documentElement.lang = locale
  applyPreferences(preferences.getState(), document.documentElement)
  preferences.subscribe((now, before) => {
    applyPreferences(now, document.documentElement)
    if (now.locale !== before.locale) location.reload()
  })
  createRoot(root).render(
    <I18nextProvider i18n={i18n}>
      <AriaLocale locale={locale}>
        <PreferencesContext value={preferences}>
          <FaultBoundary>
            <QueryClientProvider client={queries}>
              <AccountContext value={account}>
                <OpenSessionsContext value={openSessions}>
                  <HighlighterContext value={highlighter}>
                    <Announcer>
                      <App linkCode={linkCode} />
                    </Announcer>
                  </HighlighterContext>
                </OpenSessionsContext>
              </AccountContext>
            </QueryClientProvider>
          </FaultBoundary>
        </PreferencesContext>
      </AriaLocale>
    </I18nextProvider>,
  )
}

const root = document.getElementById('root')
if (root) void start(root)
