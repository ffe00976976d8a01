/** The REST API, beyond signing in: one function for each thing that can be asked. */
import type { SessionView } from '@/protocol/chat.generated'
import type {
  About,
  AuditEntryView,
  AuditList,
  LinkView,
  LinkWish,
  ManagedUser,
  NewUser,
  PoolList,
  PoolMemberView,
  PoolSizes,
  PoolView,
  RefusalList,
  RefusalView,
  SessionFiguresView,
  SessionPage,
  SessionWish,
  UserChange,
  UserList,
} from '@/protocol/rest.generated'
import type { Api } from './api'

export type { ManagedUser, PoolView, SessionPage }
export type PoolMember = PoolMemberView
export type SessionFigures = SessionFiguresView
export type RefusedHost = RefusalView
export type AuditEntry = AuditEntryView

export const about = (api: Api) => api.ask<About>('/about')

export const listSessions = (api: Api, cursor: string | null) =>
  api.ask<SessionPage>(`/sessions?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)

export const createSession = (api: Api, wish: SessionWish, idempotencyKey: string) =>
  api.ask<SessionView>('/sessions', {
    method: 'POST',
    body: wish,
    headers: { Prefer: 'respond-async', 'Idempotency-Key': idempotencyKey },
    patience: 60_000,
  })

export const listPools = (api: Api) => api.ask<PoolList>('/admin/pools')

export const resizePool = (api: Api, profile: string, sizes: PoolSizes) =>
  api.ask<PoolView>(`/admin/pools/${encodeURIComponent(profile)}`, { method: 'PUT', body: sizes })

export const listUsers = async (api: Api) =>
  (await api.ask<UserList>('/admin/users?limit=100')).users

export const addUser = (api: Api, user: NewUser) =>
  api.ask<ManagedUser>('/admin/users', { method: 'POST', body: user })

export const changeUser = (api: Api, id: string, change: UserChange) =>
  api.ask<ManagedUser>(`/admin/users/${encodeURIComponent(id)}`, { method: 'PATCH', body: change })

export const linkFor = (api: Api, id: string, wish: LinkWish = {}) =>
  api.ask<LinkView>(`/admin/users/${encodeURIComponent(id)}/link`, { method: 'POST', body: wish })

export interface AuditFilter {
  action: string
  actor: string
}

export const listRefusedHosts = (api: Api) => api.ask<RefusalList>('/admin/egress')

const AUDIT_PAGE = 50

export function listAudit(api: Api, filter: AuditFilter, before: string | null) {
  const query = new URLSearchParams({ limit: String(AUDIT_PAGE) })
  if (before !== null) query.set('before', before)
  if (filter.action) query.set('action', filter.action)
  if (filter.actor) query.set('actor', filter.actor)
  return api.ask<AuditList>(`/admin/audit?${query}`)
}
