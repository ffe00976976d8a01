/**
 * The one voice for screen readers. The transcript is no live region: text that streams would be
 * read word by word, so what is worth saying is said here, at the boundaries.
 */
import { createContext, useCallback, useContext, useRef, useState, type ReactNode } from 'react'
import { usePreferences } from '@/settings/preferences'

export type Urgency = 'polite' | 'assertive'
export type Announce = (message: string, urgency?: Urgency) => void

/** Cleared, then set: a reader repeats a message that is the same as the last one. */
const PAUSE_MS = 60

const AnnounceContext = createContext<Announce>(() => undefined)

export const useAnnounce = (): Announce => useContext(AnnounceContext)

export function Announcer({ children }: { children: ReactNode }) {
  const [polite, setPolite] = useState('')
  const [assertive, setAssertive] = useState('')
  const muted = usePreferences((preferences) => preferences.announcements === 'off')
  const timers = useRef<Partial<Record<Urgency, ReturnType<typeof setTimeout>>>>({})
  const announce = useCallback<Announce>(
    (message, urgency = 'polite') => {
      if (muted && urgency === 'polite') return
      const say = urgency === 'polite' ? setPolite : setAssertive
      clearTimeout(timers.current[urgency])
      say('')
      timers.current[urgency] = setTimeout(() => say(message), PAUSE_MS)
    },
    [muted],
  )
  return (
    <AnnounceContext value={announce}>
      {children}
      <div className="sr-only" role="status" aria-live="polite">
        {polite}
      </div>
      <div className="sr-only" role="alert" aria-live="assertive">
        {assertive}
      </div>
    </AnnounceContext>
  )
}
