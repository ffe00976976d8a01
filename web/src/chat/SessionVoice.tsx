/** Says at the boundaries what is worth saying, and keeps title and icon of the tab honest. */
import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { patchSessions } from '@/sessions/queries'
import { useAnnounce } from '@/ui/announcer'
import { revealedText } from '@/ui/revealed'
import { announcements, type Announcement } from './announcements'
import { useSession, useSessionStore } from './session-context'

const SHOWN_MS = 6_000

export function SessionVoice() {
  const { t } = useTranslation()
  const store = useSessionStore()
  const announce = useAnnounce()
  const [notice, setNotice] = useState<Announcement | null>(null)
  useEffect(
    () =>
      store.subscribe((now, before) => {
        if (now.turns.length > before.turns.length) setNotice(null) // it spoke of an earlier one
        for (const said of announcements(before, now, t)) {
          announce(said.text, said.urgency)
          if (said.shown) setNotice(said)
        }
      }),
    [store, announce, t],
  )
  useEffect(() => {
    if (!notice) return
    const timer = setTimeout(() => setNotice(null), SHOWN_MS)
    return () => clearTimeout(timer)
  }, [notice])
  useListPatch()
  useTab()
  return notice ? (
    <div className="toast-place">
      <div className="toast fades" data-tone={notice.urgency === 'assertive' ? 'bad' : 'plain'}>
        {notice.text}
      </div>
    </div>
  ) : null
}

/** The list beside it shows the same session: what the stream says is newer than what was listed. */
function useListPatch(): void {
  const client = useQueryClient()
  const view = useSession((session) => session.session)
  useEffect(() => {
    if (view) patchSessions(client, view)
  }, [client, view])
}

function useTab(): void {
  const { t } = useTranslation()
  const title = useSession(({ session }) => session?.title ?? '')
  const state = useSession(({ session }) => session?.state ?? 'idle')
  useEffect(() => {
    const name = revealedText(title) || t('sessions.untitled')
    document.title =
      state === 'asking' ? `◆ ${t('chat.waitsForYou')}: ${name}` : `${name} · Casemate`
    setIcon(state === 'asking' ? 'waiting' : state === 'running' ? 'running' : 'calm')
    return () => {
      document.title = 'Casemate'
      setIcon('calm')
    }
  }, [t, title, state])
}

function setIcon(name: 'calm' | 'running' | 'waiting'): void {
  const icon = document.querySelector<HTMLLinkElement>('link[rel="icon"]')
  if (icon) icon.href = `/assets/icons/${name}.svg`
}
