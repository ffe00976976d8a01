/** Stopping takes a moment, and is shown as what it is: idle → running → stopping → idle. */
import { useState } from 'react'
import { useSession, useSessionStore } from './session-context'

export function useStop(): { phase: 'idle' | 'running' | 'stopping'; stop: () => void } {
  const store = useSessionStore()
  const [asked, setAsked] = useState<string | null>(null)
  const turn = useSession((session) => session.session?.turn_id ?? null)
  const active = useSession((session) => {
    const state = session.session?.state
    return state === 'running' || state === 'asking'
  })
  const outcome = useSession((session) => session.turns.at(-1)?.outcome)
  const online = useSession((session) => session.status === 'online')
  if (!active) return { phase: 'idle', stop: () => undefined }
  const stopping = outcome === 'stopping' || (asked !== null && asked === turn)
  const stop = () => {
    if (stopping || !online) return
    store.interrupt()
    setAsked(turn)
  }
  return { phase: stopping ? 'stopping' : 'running', stop }
}
