/** One session, whole: header, ribbon, transcript, dock, composer, inspector. */
import { useEffect, type KeyboardEvent } from 'react'
import { useTranslation } from 'react-i18next'
import { Link } from 'wouter'
import { useAccountState } from '@/connection/account-context'
import type { PermissionRequested, QuestionAsked } from '@/protocol/chat.generated'
import { PermissionDock } from '@/permissions/PermissionDock'
import { usePreferences } from '@/settings/preferences'
import { Ideas } from '@/sessions/Ideas'
import { StateShape } from '@/ui/StateShape'
import { Composer } from './Composer'
import { focusComposer } from './composer-focus'
import { Inspector, PlanLine } from './Inspector'
import { Notices } from './Notices'
import { useOpenSession } from './open-sessions'
import { promptsWait } from './Queue'
import { RestLine, wordsOfWaking } from './RestLine'
import { RunRibbon } from './RunRibbon'
import { SessionContext, useSession, useSessionStore } from './session-context'
import { createSessionStore, type OpenSession } from './session-store'
import { SessionHeader } from './SessionHeader'
import { SessionVoice } from './SessionVoice'
import { useStop } from './stopping'
import { Thread } from './Thread'
import { Unfinished } from './Unfinished'
import './session.css'

export { createSessionStore }

export function SessionPage({ id }: { id: string }) {
  const store = useOpenSession(id, createSessionStore)
  const { phase } = useAccountState()
  useEffect(() => {
    if (phase === 'signed-in') store.kick()
  }, [store, phase])
  return (
    <SessionContext value={store}>
      <Session key={id} />
    </SessionContext>
  )
}

function Session() {
  const { t } = useTranslation()
  const inspector = usePreferences((preferences) => preferences.inspector)
  const gone = useSession((session) => session.status === 'gone')
  const { stop } = useStop()
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === 'Escape' && !event.defaultPrevented) stop()
  }
  if (gone) return <Gone />
  return (
    <>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- Esc, wherever one is */}
      <main className="session" aria-label={t('chat.session')} tabIndex={-1} onKeyDown={onKeyDown}>
        <Notices />
        <SessionHeader />
        <RunRibbon />
        <Body />
        <SessionVoice />
        <PlanLine />
        <RestLine />
        <Unfinished />
        <Dock />
        <Composer />
      </main>
      {inspector ? <Inspector /> : null}
    </>
  )
}

function Body() {
  const loaded = useSession((session) => session.loaded)
  const state = useSession(({ session }) => session?.state)
  const empty = useSession((session) => isEmpty(session))
  if (!loaded) return <div className="session-blank" aria-busy="true" />
  if (state === 'waiting' && empty) return <WaitingForSandbox />
  if ((state === 'waking' || state === 'hibernated') && empty) return <WithoutSandbox />
  return empty ? <Welcome /> : <Thread />
}

/** In the middle of a start, a prompt that waits is shown with the composer. */
function isEmpty({ order, outgoing, session }: OpenSession): boolean {
  return order.length === 0 && (outgoing.length === 0 || promptsWait(session))
}

/** The truth about a start: whose turn it is, and that nothing is lost meanwhile. */
function WaitingForSandbox() {
  const { t } = useTranslation()
  const place = useSession(({ session }) => session?.place ?? null)
  return (
    <div className="session-blank">
      <div className="session-phase">
        <p className="session-phase-title">
          <StateShape shape="starting" />
          {t('sessions.waitingTitle')}
        </p>
        {place ? (
          <p>
            <span className="session-place mono">{place}</span>
            {t('sessions.place', { count: place })}
          </p>
        ) : null}
        <p className="muted">{t('sessions.waitingText')}</p>
      </div>
    </div>
  )
}

/** Nothing was said in it yet, and what it is in now is told above the composer. */
function WithoutSandbox() {
  const { t } = useTranslation()
  const view = useSession(({ session }) => session)
  if (!view) return null
  const asleep = view.state === 'hibernated'
  return (
    <div className="session-blank">
      <div className="session-phase">
        <p className="session-phase-title">
          <StateShape shape={asleep ? 'asleep' : 'starting'} />
          {asleep ? t('sessions.state.hibernated') : wordsOfWaking(view, t)}
        </p>
        <p className="muted">{asleep ? t('stays.asleep') : t('stays.wakingText')}</p>
      </div>
    </div>
  )
}

function Welcome() {
  const { t } = useTranslation()
  const store = useSessionStore()
  return (
    <div className="session-blank">
      <div className="session-phase">
        <p className="session-phase-title">{t('chat.welcome')}</p>
        <p className="muted">{t('chat.welcomeText')}</p>
        <Ideas onChoose={store.prompt} />
      </div>
    </div>
  )
}

function Gone() {
  const { t } = useTranslation()
  return (
    <main className="session session-blank">
      <div className="session-phase">
        <p className="session-phase-title">{t('sessions.gone')}</p>
        <Link className="button" href="/">
          {t('sessions.back')}
        </Link>
      </div>
    </main>
  )
}

const NO_PERMISSIONS: readonly PermissionRequested[] = []
const NO_QUESTIONS: readonly QuestionAsked[] = []

function Dock() {
  const store = useSessionStore()
  const permissions = useSession(({ session }) => session?.permissions ?? NO_PERMISSIONS)
  const questions = useSession(({ session }) => session?.questions ?? NO_QUESTIONS)
  const deciding = useSession((session) => session.deciding)
  const turnedAway = useSession((session) => session.turnedAway)
  return (
    <PermissionDock
      permissions={permissions}
      questions={questions}
      deciding={deciding}
      turnedAway={turnedAway}
      onDecide={store.decide}
      onAnswer={store.answer}
      onDone={focusComposer}
    />
  )
}
