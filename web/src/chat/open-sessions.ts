/** The sessions that this page has open: one store and one socket each, for as long as one looks. */
import { createContext, useContext, useEffect, useMemo } from 'react'
import { useApi } from '@/connection/account-context'
import type { Api } from '@/connection/api'
import { createSessionStore, type SessionStore } from './session-store'

export type OpenSessions = (id: string) => SessionStore

/** Transcripts that are kept after one looked away, so that coming back shows them at once. */
const MOST_KEPT = 8

export function createOpenSessions(api: Api): OpenSessions {
  const stores = new Map<string, SessionStore>()
  return (id) => {
    const store = stores.get(id) ?? createSessionStore(id, api)
    stores.delete(id)
    stores.set(id, store)
    for (const oldest of [...stores.keys()].slice(0, Math.max(0, stores.size - MOST_KEPT))) {
      stores.delete(oldest)
    }
    return store
  }
}

export const OpenSessionsContext = createContext<OpenSessions | null>(null)

export function useOpenSession(id: string): SessionStore {
  const api = useApi()
  const given = useContext(OpenSessionsContext)
  const open = useMemo(() => given ?? createOpenSessions(api), [given, api])
  const store = useMemo(() => open(id), [open, id])
  useEffect(() => {
    store.start()
    return () => store.stop()
  }, [store])
  return store
}
