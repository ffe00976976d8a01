/**
 * The REST side: JSON over fetch, with the anti-forgery header, one silent refresh on 401, and
 * problem details as errors. Tokens live in httpOnly cookies; nothing here ever sees one.
 *
 *     ApiError
 *     ├── ProblemAnswer    the server said no, and why (tag, title, detail, status)
 *     └── Unreachable      no answer at all
 */
import type { Problem } from '@/protocol/chat.generated'

export const API = '/api/v1'
const CSRF_COOKIE = /(?:^|;\s*)(?:__Host-|__Secure-)?casemate_csrf=([^;]*)/
/** There a 401 is the answer itself. */
const SIGNING_IN = new Set(['/auth/login', '/auth/link', '/auth/logout', '/auth/refresh'])
const PATIENCE_MS = 30_000

export class ApiError extends Error {}

export class ProblemAnswer extends ApiError {
  readonly problem: Problem
  readonly retryAfter: number | null
  constructor(problem: Problem, retryAfter: number | null = null) {
    super(problem.title)
    this.problem = problem
    this.retryAfter = retryAfter
  }
}

export class Unreachable extends ApiError {}

export interface Ask {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal
  /** How long to wait for an answer; a session's start may take longer than a list. */
  patience?: number
  /** Where JSON has to be read with more care than `JSON.parse` takes. */
  parse?: (text: string) => unknown
}

export interface Api {
  ask<Answer>(path: string, ask?: Ask): Promise<Answer>
  /** True when the person is (again) signed in. Called at once by many, it asks once. */
  refresh(): Promise<boolean>
}

export interface ApiSettings {
  fetch?: typeof fetch
  /** Called when neither the access nor the refresh token is good any more. */
  onSignedOut: () => void
}

export function createApi(settings: ApiSettings): Api {
  const send = (path: string, asked: Ask) =>
    request(settings.fetch ?? globalThis.fetch, path, asked)
  let refreshing: Promise<boolean> | null = null

  async function refreshOnce(): Promise<boolean> {
    const answer = await send('/auth/refresh', { method: 'POST' })
    return answer.ok
  }

  function refresh(): Promise<boolean> {
    refreshing ??= refreshOnce().finally(() => {
      refreshing = null
    })
    return refreshing
  }

  async function ask<Answer>(path: string, asked: Ask = {}): Promise<Answer> {
    let answer = await send(path, asked)
    if (answer.status === 401 && !SIGNING_IN.has(path)) {
      if (await refresh()) answer = await send(path, asked)
      if (answer.status === 401) settings.onSignedOut()
    }
    if (!answer.ok) throw await problemOf(answer)
    if (answer.status === 204) return undefined as Answer
    return (asked.parse ? asked.parse(await answer.text()) : await answer.json()) as Answer
  }

  return { ask, refresh }
}

async function request(fetcher: typeof fetch, path: string, ask: Ask): Promise<Response> {
  const method = ask.method ?? 'GET'
  const headers: Record<string, string> = { Accept: 'application/json', ...ask.headers }
  if (method !== 'GET') {
    headers['Content-Type'] = 'application/json'
    const token = csrfToken()
    if (token) headers['X-CSRF-Token'] = token
  }
  const limit = AbortSignal.timeout(ask.patience ?? PATIENCE_MS)
  const init: RequestInit = {
    method,
    headers,
    credentials: 'same-origin',
    signal: ask.signal ? AbortSignal.any([ask.signal, limit]) : limit,
  }
  if (method !== 'GET') init.body = JSON.stringify(ask.body ?? {})
  try {
    return await fetcher(`${API}${path}`, init)
  } catch (error) {
    if (ask.signal?.aborted) throw error
    throw new Unreachable('The server does not answer.', { cause: error })
  }
}

export function csrfToken(cookies: string = document.cookie): string {
  return decodeURIComponent(CSRF_COOKIE.exec(cookies)?.[1] ?? '')
}

export async function problemOf(answer: Response): Promise<ProblemAnswer> {
  const seconds = Number(answer.headers.get('Retry-After'))
  const body: unknown = await answer.json().catch(() => null)
  return new ProblemAnswer(asProblem(body, answer.status), seconds > 0 ? seconds : null)
}

function asProblem(body: unknown, status: number): Problem {
  const said = (typeof body === 'object' && body !== null ? body : {}) as Partial<Problem>
  return {
    tag: typeof said.tag === 'string' ? said.tag : 'refused',
    title: typeof said.title === 'string' ? said.title : `HTTP ${status}`,
    detail: typeof said.detail === 'string' ? said.detail : '',
    status,
  }
}
