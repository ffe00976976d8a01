/** What a person said, and what became of it. */
import { useTranslation } from 'react-i18next'
import { Button } from '@/ui/Button'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import { nameOfPolicy, ruledBy } from './guards'
import { useSessionStore } from './session-context'
import type { Guard, UserRow } from './transcript/shape'

/** A person's words stay as they were typed: no Markdown. */
export function UserTurn({ row }: { row: UserRow }) {
  const { t } = useTranslation()
  const store = useSessionStore()
  if (row.again && row.delivery === 'sent') return <Again row={row} />
  return (
    <div className="user-turn" data-delivery={row.blocked ? 'refused' : row.delivery}>
      <p className="user-text">{row.text}</p>
      {row.delivery === 'sending' ? <p className="user-state">{t('chat.sending')}</p> : null}
      {row.delivery === 'refused' ? (
        <div className="user-refused">
          <span>
            <StateShape shape="failed" /> {row.problem?.title} {row.problem?.detail}
          </span>
          <Button onClick={() => store.retry(row.clientId)}>{t('chat.retry')}</Button>
          <Button variant="quiet" onClick={() => store.discard(row.clientId)}>
            {t('chat.discard')}
          </Button>
        </div>
      ) : null}
      {row.blocked ? <Blocked row={row} guard={row.blocked} /> : null}
      {row.notes.map((note) => (
        <p key={note.policy + note.text} className="user-note">
          {t('chat.guard.annotated', { policy: nameOfPolicy(note.policy, t) })}{' '}
          <Revealed text={note.text} as="prose" />
        </p>
      ))}
    </div>
  )
}

/** Its words are above: one glance tells that it is tried once more. */
function Again({ row }: { row: UserRow }) {
  const { t } = useTranslation()
  return (
    <p className="user-turn user-again">
      <span className="muted">{t('stays.again')}</span>{' '}
      <Revealed text={row.text.slice(0, GLANCE)} as="line" />
    </p>
  )
}

const GLANCE = 300

function Blocked({ row, guard }: { row: UserRow; guard: Guard }) {
  const { t } = useTranslation()
  const store = useSessionStore()
  return (
    <div className="user-refused">
      <span>
        <StateShape shape="failed" /> {t('chat.guard.blocked')}{' '}
        <Revealed text={guard.text} as="prose" />{' '}
        <span className="user-policy">{ruledBy(guard.policy, t)}</span>
      </span>
      <Button onClick={() => store.editAgain(row.text)}>{t('chat.guard.edit')}</Button>
    </div>
  )
}
