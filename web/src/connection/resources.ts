/** What the REST API answers with, beyond the chat's own structs. */
import type { SessionView } from '@/protocol/chat.generated'
import type { Api } from './api'
import type { Role, User } from './account'

export interface SessionPage {
  sessions: SessionView[]
  next_cursor?: string | null
}

export interface ProfileView {
  name: string
  title: string
  description: string
  model: string
  /** Exact ids, or a prefix that ends in `*`. */
  models: string[]
  permission_mode: string
}

export interface About {
  version: string
  model: 'scripted' | 'real'
  /** Sentences that the page shows to everybody. */
  notices: string[]
  profiles: ProfileView[]
}

export type MemberState = 'starting' | 'ready' | 'claimed' | 'failed'

export interface PoolMember {
  sandbox_id: string
  state: MemberState | (string & {})
  age_seconds: number
  version: string
}

export interface PoolView {
  profile: string
  min: number
  max: number
  ready: number
  starting: number
  claimed: number
  waiting: number
  members: PoolMember[]
  counters: Record<string, number>
  last_error: string | null
}

export interface ManagedUser extends User {
  disabled: boolean
  has_password: boolean
  created_at: string
  last_seen_at: string | null
}

export interface SignInLink {
  url: string
  expires_at: string
}

export const about = (api: Api) => api.ask<About>('/about')

export const listSessions = (api: Api, cursor: string | null) =>
  api.ask<SessionPage>(`/sessions?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)

export const createSession = (
  api: Api,
  wish: { profile?: string; title?: string },
  idempotencyKey: string,
) =>
  api.ask<SessionView>('/sessions', {
    method: 'POST',
    body: wish,
    headers: { Prefer: 'respond-async', 'Idempotency-Key': idempotencyKey },
    patience: 60_000,
  })

export const listPools = async (api: Api) =>
  (await api.ask<{ pools: PoolView[] }>('/admin/pools')).pools

export const resizePool = (api: Api, profile: string, sizes: { min: number; max: number }) =>
  api.ask<PoolView>(`/admin/pools/${encodeURIComponent(profile)}`, { method: 'PUT', body: sizes })

export const listUsers = async (api: Api) =>
  (await api.ask<{ users: ManagedUser[] }>('/admin/users?limit=100')).users

export const addUser = (api: Api, user: { name: string; role: Role }) =>
  api.ask<ManagedUser>('/admin/users', { method: 'POST', body: user })

export const changeUser = (api: Api, id: string, change: { role?: Role; disabled?: boolean }) =>
  api.ask<ManagedUser>(`/admin/users/${encodeURIComponent(id)}`, { method: 'PATCH', body: change })

export const linkFor = (api: Api, id: string) =>
  api.ask<SignInLink>(`/admin/users/${encodeURIComponent(id)}/link`, { method: 'POST' })
