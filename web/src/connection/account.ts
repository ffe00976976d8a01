/** Who is signed in, and the one API client that knows when nobody is. */
import { createStore, type StoreApi } from 'zustand/vanilla'
import type { Me } from '@/protocol/rest.generated'
import { createApi, ProblemAnswer, type Api } from './api'

export type Role = Me['role']

export type User = Pick<Me, 'id' | 'name' | 'role'> & Partial<Pick<Me, 'has_password'>>

const RENEW_BEFORE_MS = 60_000
const RENEW_AT_LEAST_MS = 15_000
const RENEW_AT_MOST_MS = 30 * 60_000

export function renewalDelay(expires: string | undefined, now: number): number {
  const left = expires ? Date.parse(expires) - now - RENEW_BEFORE_MS : RENEW_AT_MOST_MS
  return Math.min(RENEW_AT_MOST_MS, Math.max(RENEW_AT_LEAST_MS, left))
}

export type AccountState =
  | { phase: 'unknown' }
  | { phase: 'signed-out' }
  | { phase: 'signed-in'; user: User }
  /** Signed in a moment ago: the page stays, with the sign-in form over it. */
  | { phase: 'expired'; user: User }

export interface Account {
  store: StoreApi<AccountState>
  api: Api
  look(): Promise<void>
  signIn(username: string, password: string): Promise<void>
  redeemLink(code: string): Promise<void>
  signOut(): Promise<void>
  /** Ends every other sign-in. `current` is needed where there is one. */
  choosePassword(next: string, current: string | null): Promise<void>
}

const CHANNEL = 'casemate-account'

export function createAccount(fetcher?: typeof fetch): Account {
  const store = createStore<AccountState>(() => ({ phase: 'unknown' }))
  const tabs = 'BroadcastChannel' in globalThis ? new BroadcastChannel(CHANNEL) : null
  let renewal: ReturnType<typeof setTimeout> | undefined
  const enter = (user: User) => store.setState({ phase: 'signed-in', user }, true)
  const leave = () => {
    clearTimeout(renewal)
    store.setState({ phase: 'signed-out' }, true)
  }
  const expire = () => {
    const now = store.getState()
    if (now.phase === 'signed-in') store.setState({ phase: 'expired', user: now.user }, true)
    else if (now.phase === 'unknown') leave()
  }
  const api = createApi({ onSignedOut: expire, ...(fetcher ? { fetch: fetcher } : {}) })
  async function look(): Promise<void> {
    const { access_expires_at: expires, ...user } = await api.ask<Me>('/auth/me')
    enter(user)
    clearTimeout(renewal)
    renewal = setTimeout(() => void renew(), renewalDelay(expires, Date.now()))
  }

  /** Ahead of time, so that open streams are not cut. Failing is no harm: the next 401 tells. */
  const renew = async () => {
    if (await api.refresh().catch(() => false)) await look().catch(() => undefined)
  }

  async function enterWith(path: string, body: object): Promise<void> {
    await api.ask(path, { method: 'POST', body })
    await look()
    tabs?.postMessage('signed-in')
  }

  if (tabs) {
    tabs.onmessage = ({ data }) => {
      if (data === 'signed-out') leave()
      else void look().catch(() => undefined) // the form stays; its own attempt will say why
    }
  }

  return {
    store,
    api,
    look: () =>
      look().catch((error: unknown) => {
        if (error instanceof ProblemAnswer && error.problem.status === 401) return leave()
        throw error
      }),
    signIn: (username, password) => enterWith('/auth/login', { username, password }),
    redeemLink: (code) => enterWith('/auth/link', { code }),
    async choosePassword(next, current) {
      const body = current === null ? { new: next } : { new: next, current }
      await api.ask('/auth/password', { method: 'PUT', body })
      await look()
    },
    async signOut() {
      await api.ask('/auth/logout', { method: 'POST' })
      leave()
      tabs?.postMessage('signed-out')
    },
  }
}

/** A one-time code travels in the fragment, which no server log sees; it is taken out at once. */
export function takeLinkCode(location: Location, history: History): string | null {
  const fragment = new URLSearchParams(location.hash.replace(/^#/, ''))
  const query = new URLSearchParams(location.search)
  const code = fragment.get('link') ?? fragment.get('code') ?? query.get('code')
  if (code) history.replaceState(null, '', '/')
  return code
}
