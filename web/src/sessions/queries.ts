/** The list of sessions: asked for by page, kept true by what the open streams say. */
import {
  useInfiniteQuery,
  useMutation,
  useQueryClient,
  type InfiniteData,
  type QueryClient,
} from '@tanstack/react-query'
import { useRef } from 'react'
import { useApi } from '@/connection/account-context'
import { createSession, listSessions, type SessionPage } from '@/connection/resources'
import type { SessionView } from '@/protocol/chat.generated'

const KEY = ['sessions']
/** Other tabs and programs start and end sessions too. */
const REFRESH_MS = 5_000

type Pages = InfiniteData<SessionPage, string | null>

export function useSessions() {
  const api = useApi()
  return useInfiniteQuery({
    queryKey: KEY,
    queryFn: ({ pageParam }) => listSessions(api, pageParam),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor ?? null,
    refetchInterval: REFRESH_MS,
  })
}

export function patchSessions(client: QueryClient, view: SessionView): void {
  client.setQueryData<Pages>(KEY, (data) => {
    if (!data) return data
    const known = data.pages.some((page) => page.sessions.some(({ id }) => id === view.id))
    const pages = data.pages.map((page, index) => {
      if (!known) return index === 0 ? { ...page, sessions: [view, ...page.sessions] } : page
      const sessions = page.sessions.map((other) => (other.id === view.id ? view : other))
      return { ...page, sessions }
    })
    return { ...data, pages }
  })
}

/** The same press of the button is the same session, however often the network makes us ask. */
export function useCreateSession(onCreated: (view: SessionView) => void) {
  const api = useApi()
  const client = useQueryClient()
  const key = useRef<string | null>(null)
  return useMutation({
    mutationFn: (profile: string | null) => {
      key.current ??= crypto.randomUUID()
      return createSession(api, profile ? { profile } : {}, key.current)
    },
    onSuccess: (view) => {
      key.current = null
      patchSessions(client, view)
      onCreated(view)
    },
  })
}
