/** The open session, for everything below it. */
import { createContext, useContext } from 'react'
import { useStore } from 'zustand'
import type { OpenSession, SessionStore } from './session-store'

export const SessionContext = createContext<SessionStore | null>(null)

export function useSessionStore(): SessionStore {
  const store = useContext(SessionContext)
  if (!store) throw new Error('There is no open session here.')
  return store
}

/** Renders again only when what `select` picks is another thing. */
export function useSession<Part>(select: (session: OpenSession) => Part): Part {
  return useStore(useSessionStore(), select)
}
