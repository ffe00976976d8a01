/**
 * A prompt whose turn came to no end because of something that nobody wished: again, or let go? Why
 * it did not is told in the thread.
 */
import { useId } from 'react'
import { useTranslation } from 'react-i18next'
import { useAccountState } from '@/connection/account-context'
import { Button } from '@/ui/Button'
import { own } from '@/ui/own'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import { focusComposer } from './composer-focus'
import { useSession, useSessionStore } from './session-context'
import { unfinishedKey } from './session-store'
import './stays.css'

export function Unfinished() {
  const { t } = useTranslation()
  const store = useSessionStore()
  const title = useId()
  const account = useAccountState()
  const me = 'user' in account ? account.user.name : ''
  const prompt = useSession(({ session }) => session?.unfinished ?? null)
  const over = useSession(
    ({ session }) => session?.state === 'ended' || session?.state === 'failed',
  )
  const queued = useSession(({ session }) => !!session?.queue?.length)
  const deciding = useSession(
    (session) => prompt !== null && own(session.deciding, unfinishedKey(prompt.client_id)),
  )
  if (!prompt || over) return null
  const decide = (how: (unfinished: string) => void) => {
    how(prompt.client_id)
    focusComposer() // the card goes, and the focus with it
  }
  return (
    <section className="unfinished-frame" aria-labelledby={title}>
      <div className="unfinished fades">
        <h2 id={title} className="unfinished-title">
          <StateShape shape="waiting" />
          {prompt.by && prompt.by !== me
            ? t('stays.unfinished.titleOf', { name: prompt.by })
            : t('stays.unfinished.title')}
        </h2>
        <p className="unfinished-text">
          <Revealed text={prompt.text} as="prose" />
        </p>
        {queued ? <p className="unfinished-why">{t('stays.unfinished.waits')}</p> : null}
        <div className="unfinished-actions">
          <Button variant="primary" disabled={!!deciding} onClick={() => decide(store.runAgain)}>
            {t('stays.unfinished.again')}
          </Button>
          <Button disabled={!!deciding} onClick={() => decide(store.letGo)}>
            {t('stays.unfinished.letGo')}
          </Button>
        </div>
      </div>
    </section>
  )
}
