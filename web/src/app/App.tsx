/** Which page is shown, and to whom. */
import { lazy, Suspense, useContext, useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { Route, Switch } from 'wouter'
import { useAccount, useAccountState, useUser } from '@/connection/account-context'
import { keepDraft } from '@/chat/drafts'
import { OpenSessionsContext } from '@/chat/open-sessions'
import { HomePage } from '@/sessions/HomePage'
import { Button } from '@/ui/Button'
import { Dialog } from '@/ui/Dialog'
import { Shell } from './Shell'
import { SignInForm, SignInPage } from './SignIn'

const AdminPage = lazy(() => import('@/admin/AdminPage'))
/** Most of the page's weight: not needed to sign in, and fetched while a person looks around. */
const loadSessionPage = () => import('@/chat/SessionPage')
const SessionPage = lazy(async () => ({ default: (await loadSessionPage()).SessionPage }))

export function App({ linkCode }: { linkCode: string | null }) {
  const account = useAccount()
  const state = useAccountState()
  const [unreachable, setUnreachable] = useState(false)
  useEffect(() => {
    if (linkCode) account.store.setState({ phase: 'signed-out' }, true)
    else account.look().catch(() => setUnreachable(true))
  }, [account, linkCode])
  switch (state.phase) {
    case 'unknown':
      return unreachable ? <NoServer /> : null
    case 'signed-out':
      return <SignInPage linkCode={linkCode} />
    case 'signed-in':
    case 'expired':
      return (
        <>
          <Shell>
            <Pages />
          </Shell>
          {state.phase === 'expired' ? <SignInAgain name={state.user.name} /> : null}
        </>
      )
  }
}

function Pages() {
  const { role } = useUser()
  const open = useContext(OpenSessionsContext)
  const firstPrompt = (id: string, prompt: string) =>
    void loadSessionPage().then(
      ({ createSessionStore }) => open?.open(id, createSessionStore).prompt(prompt),
      () => keepDraft(id, prompt), // the page cannot be had now: it is there after a reload
    )
  useEffect(() => {
    loadSessionPage().catch(() => undefined) // it is asked for again where it is shown
  }, [])
  return (
    <Suspense fallback={<main aria-busy="true" />}>
      <Switch>
        <Route path="/s/:id">{({ id }) => <SessionPage key={id} id={id} />}</Route>
        {role === 'user' ? null : (
          <Route path="/admin">
            <AdminPage />
          </Route>
        )}
        <Route>
          <HomePage onPrompt={firstPrompt} />
        </Route>
      </Switch>
    </Suspense>
  )
}

/** Over the page, so that what was typed stays. */
function SignInAgain({ name }: { name: string }) {
  const { t } = useTranslation()
  return (
    <Dialog title={t('signIn.again')} open dismissable={false} onClose={() => undefined}>
      <p>{t('signIn.againText')}</p>
      <SignInForm name={name} />
    </Dialog>
  )
}

function NoServer() {
  const { t } = useTranslation()
  return (
    <main className="home">
      <div className="home-text">
        <h1>{t('app.noServer')}</h1>
        <p>{t('app.noServerText')}</p>
        <Button onClick={() => location.reload()}>{t('app.tryAgain')}</Button>
      </div>
    </main>
  )
}
