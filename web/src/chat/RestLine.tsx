/** Above the composer while there is no sandbox: how far the waking is, or that it sleeps. */
import { useTranslation } from 'react-i18next'
import type { TFunction } from 'i18next'
import type { SessionView } from '@/protocol/chat.generated'
import { Button } from '@/ui/Button'
import { bytes } from '@/ui/format'
import { StateShape } from '@/ui/StateShape'
import { useSession, useSessionStore } from './session-context'
import './stays.css'

export function RestLine() {
  const { t } = useTranslation()
  const store = useSessionStore()
  const view = useSession(({ session }) => session)
  if (view?.state === 'waking') {
    return (
      <p className="rest-line">
        <span className="rest-words">
          <StateShape shape="starting" />
          {wordsOfWaking(view, t)}
        </span>
      </p>
    )
  }
  if (view?.state !== 'hibernated') return null
  const asked = (view.permissions ?? []).length + (view.questions ?? []).length > 0
  return (
    <div className="rest-line">
      <span className="rest-words">
        <StateShape shape="asleep" />
        {t(asked ? 'stays.asleepAsking' : 'stays.asleep')}
      </span>
      <Button onClick={() => store.wake()}>{t('stays.wake')}</Button>
    </div>
  )
}

/** What is true now: whose turn it is, what is put back, or what it wakes for. */
export function wordsOfWaking(view: SessionView, t: TFunction): string {
  const { place, restoring_bytes: size = 0, turn_id, permissions = [], questions = [] } = view
  if (place) return t('stays.wakingPlace', { count: place })
  if (size > 0) return t('stays.wakingFiles', { size: bytes(size) })
  const answered = turn_id && permissions.length === 0 && questions.length === 0
  return answered ? t('stays.wakingFor') : t('stays.waking')
}
