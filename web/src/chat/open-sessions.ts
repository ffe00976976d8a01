/** The sessions that this page has open: one store and one socket each, for as long as one looks. */
import { createContext, useContext, useEffect, useMemo } from 'react'
import { useApi } from '@/connection/account-context'
import type { Api } from '@/connection/api'
import type { SessionStore } from './session-store'

/** Transcripts that are kept after one looked away, so that coming back shows them at once. */
const MOST_KEPT = 8

export type MakeStore = (id: string, api: Api) => SessionStore

/** What makes a store comes with the session's page: none of it is needed to sign in. */
export class OpenSessions {
  private readonly stores = new Map<string, SessionStore>()
  private readonly api: Api

  constructor(api: Api) {
    this.api = api
  }

  open(id: string, make: MakeStore): SessionStore {
    const store = this.stores.get(id) ?? make(id, this.api)
    this.stores.delete(id)
    this.stores.set(id, store)
    const tooMany = Math.max(0, this.stores.size - MOST_KEPT)
    for (const oldest of [...this.stores.keys()].slice(0, tooMany)) this.stores.delete(oldest)
    return store
  }
}

export const OpenSessionsContext = createContext<OpenSessions | null>(null)

export function useOpenSession(id: string, make: MakeStore): SessionStore {
  const api = useApi()
  const given = useContext(OpenSessionsContext)
  const sessions = useMemo(() => given ?? new OpenSessions(api), [given, api])
  const store = useMemo(() => sessions.open(id, make), [sessions, id, make])
  useEffect(() => {
    store.start()
    return () => store.stop()
  }, [store])
  return store
}
