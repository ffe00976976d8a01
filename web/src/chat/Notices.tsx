/** What concerns every session alike, for as long as it does: one banner, and no storm of errors. */
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Notice } from '@/protocol/chat.generated'
import { useAnnounce } from '@/ui/announcer'
import { clock } from '@/ui/format'
import { Revealed } from '@/ui/Revealed'
import { revealedText } from '@/ui/revealed'
import { StateShape } from '@/ui/StateShape'
import { useSession } from './session-context'
import './stays.css'

const NONE: readonly Notice[] = []

export function Notices() {
  const { t } = useTranslation()
  const notices = useSession(({ session }) => session?.notices ?? NONE)
  useAnnounced(notices)
  if (notices.length === 0) return null
  return (
    <section className="notices" aria-label={t('stays.notice.title')}>
      {notices.map((notice) => (
        <p key={notice.tag}>
          <StateShape shape="waiting" />
          <span>
            <Revealed text={notice.sentence} as="prose" />
          </span>
          {notice.until ? <Until at={notice.until} /> : null}
        </p>
      ))}
    </section>
  )
}

/** Once for each, however often its time is put off. */
function useAnnounced(notices: readonly Notice[]): void {
  const announce = useAnnounce()
  const said = useRef<ReadonlySet<string>>(new Set())
  useEffect(() => {
    for (const notice of notices) {
      if (!said.current.has(notice.tag)) announce(revealedText(notice.sentence))
    }
    said.current = new Set(notices.map(({ tag }) => tag))
  }, [announce, notices])
}

const SECOND = 1_000

/** For the eye alone: a countdown that is read aloud each second helps nobody. */
function Until({ at }: { at: string }) {
  const { t } = useTranslation()
  const [now, setNow] = useState(() => Date.now())
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), SECOND)
    return () => clearInterval(timer)
  }, [])
  const left = Date.parse(at) - now
  if (Number.isNaN(left)) return null
  return (
    <span className="notices-until" aria-hidden="true">
      {left > 0 ? t('stays.notice.until', { time: clock(left) }) : t('stays.notice.soon')}
    </span>
  )
}
