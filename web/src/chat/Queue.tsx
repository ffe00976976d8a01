/** Prompts that wait for the running turn; each can be taken back. */
import { X } from 'lucide-react'
import { useMemo } from 'react'
import { useTranslation } from 'react-i18next'
import { IconButton } from '@/ui/Button'
import type { QueuedPrompt, SessionState, SessionView } from '@/protocol/chat.generated'
import { Revealed } from '@/ui/Revealed'
import { useSession, useSessionStore } from './session-context'

/** Whether a prompt that is sent now has to wait for its turn, or for a sandbox. */
export function promptsWait(session: SessionView | null): boolean {
  return session !== null && WAITING.has(session.state)
}

const WAITING: ReadonlySet<SessionState> = new Set([
  'running',
  'asking',
  'waiting',
  'waking',
  'hibernated',
])

const NONE: readonly QueuedPrompt[] = []

export function Queue() {
  const { t } = useTranslation()
  const store = useSessionStore()
  const queue = useSession((session) => session.session?.queue ?? NONE)
  const busy = useSession((session) => promptsWait(session.session))
  const outgoing = useSession((session) => session.outgoing)
  const rows = useSession((session) => session.rows)
  const waiting = useMemo(() => {
    const mine = busy ? outgoing.map((id) => rows[id]) : []
    return [
      ...queue.map((prompt) => ({ id: prompt.client_id, text: prompt.text, sent: true })),
      ...mine.flatMap((row) =>
        row?.kind === 'user' ? [{ id: row.clientId, text: row.text, sent: false }] : [],
      ),
    ]
  }, [queue, busy, outgoing, rows])
  if (waiting.length === 0) return null
  return (
    <ol className="queue" aria-label={t('chat.queue')}>
      {waiting.map((prompt) => (
        <li key={prompt.id} className="queued">
          <span className="queued-label">{t(prompt.sent ? 'chat.queued' : 'chat.sending')}</span>
          <span className="queued-text">
            <Revealed text={prompt.text} as="prose" />
          </span>
          <IconButton label={t('chat.unqueue')} onClick={() => store.discard(prompt.id)}>
            <X size={14} aria-hidden="true" />
          </IconButton>
        </li>
      ))}
    </ol>
  )
}
