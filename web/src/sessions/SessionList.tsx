/** Everybody's own sessions, newest first, each with its state, and what it cost. */
import { Plus } from 'lucide-react'
import { memo, useMemo } from 'react'
import { useTranslation } from 'react-i18next'
import { Link } from 'wouter'
import { ProblemAnswer } from '@/connection/api'
import type { SessionView } from '@/protocol/chat.generated'
import { Button } from '@/ui/Button'
import { money } from '@/ui/format'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import { byDay } from './day-groups'
import { useSessions } from './queries'
import { shapeOf } from './states'
import './sessions.css'

export function SessionList({ current }: { current: string | null }) {
  const { t } = useTranslation()
  const query = useSessions()
  const sessions = useMemo(
    () => query.data?.pages.flatMap((page) => page.sessions) ?? [],
    [query.data],
  )
  const groups = useMemo(
    () => byDay(sessions, new Date(query.dataUpdatedAt)),
    [sessions, query.dataUpdatedAt],
  )
  return (
    <nav className="sessions" aria-label={t('sessions.list')}>
      {query.isError ? <p className="sessions-problem">{t('sessions.listFailed')}</p> : null}
      {query.isSuccess && sessions.length === 0 ? (
        <p className="sessions-none">{t('sessions.none')}</p>
      ) : null}
      {groups.map(({ day, items }) => (
        <section key={day} aria-labelledby={`day-${day}`}>
          <h2 id={`day-${day}`} className="sessions-day">
            {t(`sessions.day.${day}`)}
          </h2>
          {/* oxlint-disable-next-line jsx-a11y/no-redundant-roles -- Safari drops it with the bullets */}
          <ul role="list" className="sessions-list">
            {items.map((view) => (
              <SessionItem key={view.id} view={view} current={view.id === current} />
            ))}
          </ul>
        </section>
      ))}
      {query.hasNextPage ? (
        <Button variant="quiet" onClick={() => void query.fetchNextPage()}>
          {t('sessions.more')}
        </Button>
      ) : null}
    </nav>
  )
}

const SessionItem = memo(function SessionItem(props: { view: SessionView; current: boolean }) {
  const { t } = useTranslation()
  const { view, current } = props
  return (
    <li>
      <Link
        href={`/s/${view.id}`}
        className="session-item"
        data-state={view.state}
        aria-current={current ? 'page' : undefined}
      >
        <StateShape shape={shapeOf(view.state)} label={t(`sessions.state.${view.state}`)} />
        <span className="session-title">
          <Revealed text={view.title || t('sessions.untitled')} as="prose" />
        </span>
        <span className="session-cost mono">{view.cost_usd ? money(view.cost_usd) : ''}</span>
      </Link>
    </li>
  )
})

export function CreateProblem({ error }: { error: Error }) {
  const { t } = useTranslation()
  if (!(error instanceof ProblemAnswer)) return <p role="alert">{t('ui.unreachable')}</p>
  return (
    <p role="alert">
      {error.problem.title} {error.problem.detail}
    </p>
  )
}

export function NewSessionButton(props: { pending: boolean; onPress: () => void }) {
  const { t } = useTranslation()
  return (
    <Button
      variant="primary"
      className="new-session"
      disabled={props.pending}
      onClick={props.onPress}
    >
      <Plus size={16} aria-hidden="true" />
      {props.pending ? t('sessions.creating') : t('sessions.new')}
    </Button>
  )
}
