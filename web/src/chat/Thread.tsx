/** The transcript: rows by id, held at the end while it grows, unless a person reads further up. */
import { ArrowDown } from 'lucide-react'
import { memo, useLayoutEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { Button } from '@/ui/Button'
import { promptsWait } from './Queue'
import { RowView } from './RowView'
import { useSession, useSessionStore } from './session-context'
import { useStuckToEnd } from './stuck-to-end'
import './thread.css'

export function Thread() {
  const { t } = useTranslation()
  const [scroller, setScroller] = useState<HTMLElement | null>(null)
  const { stuck, jump } = useStuckToEnd(scroller)
  const running = useSession((session) => session.session?.state === 'running')
  return (
    <div className="thread-frame">
      <div
        ref={setScroller}
        className="thread"
        role="log"
        aria-label={t('chat.transcript')}
        aria-live="off"
        aria-busy={running}
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it
        tabIndex={0}
      >
        <div className="thread-rows">
          <Earlier scroller={scroller} />
          <Rows />
          <Working />
        </div>
      </div>
      {stuck ? null : (
        <Button className="jump" onClick={jump}>
          <ArrowDown size={14} aria-hidden="true" />
          {t('chat.latest')}
        </Button>
      )}
    </div>
  )
}

const Rows = memo(function Rows() {
  const order = useSession((session) => session.order)
  const outgoing = useSession((session) => session.outgoing)
  const queueing = useSession((session) => promptsWait(session.session))
  const ids = queueing ? order : [...order, ...outgoing]
  return ids.map((id, index) => {
    const before = ids[index - 1] ?? ''
    const lead = isClaudes(id) && !(before && isClaudes(before))
    return <RowView key={id} id={id} lead={lead} />
  })
})

/** Not what people said or put there. */
const isClaudes = (id: string) => !id.startsWith('user:') && !id.startsWith('upload:')

function Earlier({ scroller }: { scroller: HTMLElement | null }) {
  const { t } = useTranslation()
  const store = useSessionStore()
  const earlier = useSession((session) => session.earlier)
  const loading = useSession((session) => session.loadingEarlier)
  const first = useSession((session) => session.order[0])
  const before = useRef({ first, height: 0, top: 0 })
  useLayoutEffect(() => {
    if (scroller && before.current.height > 0 && before.current.first !== first) {
      // What is read stays where it is: the page grew above it.
      const grown = scroller.scrollHeight - before.current.height
      scroller.scrollTo({ top: before.current.top + grown })
      before.current.height = 0
    }
  }, [scroller, first])
  if (!earlier) return null
  const load = () => {
    if (scroller) {
      before.current = { first, height: scroller.scrollHeight, top: scroller.scrollTop }
    }
    void store.loadEarlier().catch(() => undefined) // the button stays, to try again
  }
  return (
    <div className="earlier">
      <Button variant="quiet" disabled={loading} onClick={load}>
        {loading ? t('chat.loading') : t('chat.earlier')}
      </Button>
    </div>
  )
}

/** Between a prompt and its first word there is nothing yet to see: say that it is on its way. */
function Working() {
  const { t } = useTranslation()
  const running = useSession((session) => session.session?.state === 'running')
  const writing = useSession((session) => {
    const row = session.rows[session.order.at(-1) ?? '']
    return row !== undefined && 'open' in row && row.open
  })
  const busy = useSession((session) => session.busy)
  if (!running || writing) return null
  const words = busy === 'compacting' ? t('chat.compacting') : t('chat.working')
  return (
    <div className="row" data-kind="working">
      <div className="row-margin" />
      <div className="row-content working">
        <span className="caret" aria-hidden="true" /> {words}
      </div>
    </div>
  )
}
