import { describe, expect, it, vi } from 'vitest'
import { createApi, csrfToken, ProblemAnswer, Unreachable } from './api'
import { renewalDelay, takeLinkCode } from './account'

const json = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { status, headers })

describe('the API client', () => {
  it('refreshes once for many that were turned away, and asks again', async () => {
    let fresh = false
    const fetcher = vi.fn(async (path: RequestInfo | URL) => {
      if (String(path).endsWith('/auth/refresh')) {
        await Promise.resolve()
        fresh = true
        return new Response(null, { status: 204 })
      }
      return fresh ? json(200, { ok: true }) : json(401, { title: 'no' })
    })
    const api = createApi({ fetch: fetcher as typeof fetch, onSignedOut: vi.fn() })
    const answers = await Promise.all([api.ask('/a'), api.ask('/b'), api.ask('/c')])
    expect(answers).toEqual([{ ok: true }, { ok: true }, { ok: true }])
    const refreshes = fetcher.mock.calls.filter(([path]) => String(path).endsWith('/refresh'))
    expect(refreshes).toHaveLength(1)
  })

  it('says so when the refresh is refused too', async () => {
    const onSignedOut = vi.fn()
    const fetcher = async () => json(401, { title: 'Not signed in.' })
    const api = createApi({ fetch: fetcher as typeof fetch, onSignedOut })
    await expect(api.ask('/a')).rejects.toThrow('Not signed in.')
    expect(onSignedOut).toHaveBeenCalledOnce()
  })

  it('turns problem details into an error, with the time to wait', async () => {
    const problem = { tag: 'no_sandbox_free', title: 'Every sandbox is in use.', detail: 'Wait.' }
    const fetcher = async () => json(429, problem, { 'Retry-After': '3' })
    const api = createApi({ fetch: fetcher as typeof fetch, onSignedOut: vi.fn() })
    const error = await api.ask('/sessions', { method: 'POST' }).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(ProblemAnswer)
    expect(error).toMatchObject({ retryAfter: 3, problem: { ...problem, status: 429 } })
  })

  it('tells a server that is not there from one that refuses', async () => {
    const fetcher = async () => Promise.reject(new TypeError('network'))
    const api = createApi({ fetch: fetcher as typeof fetch, onSignedOut: vi.fn() })
    await expect(api.ask('/a')).rejects.toBeInstanceOf(Unreachable)
  })

  it('finds the anti-forgery token with and without a prefix', () => {
    expect(csrfToken('a=1; casemate_csrf=x.y')).toBe('x.y')
    expect(csrfToken('__Host-casemate_csrf=z')).toBe('z')
    expect(csrfToken('evil_casemate_csrf=z')).toBe('')
  })
})

describe('a sign-in link', () => {
  it('is read from the fragment and taken out of the address', () => {
    const history = { replaceState: vi.fn() }
    const location = { hash: '#link=abc', search: '' } as Location
    expect(takeLinkCode(location, history as unknown as History)).toBe('abc')
    expect(history.replaceState).toHaveBeenCalledWith(null, '', '/')
  })
})

describe('renewal', () => {
  it('comes a minute before the access token expires, never at once', () => {
    const now = Date.parse('2026-01-01T00:00:00Z')
    expect(renewalDelay('2026-01-01T00:10:00Z', now)).toBe(9 * 60_000)
    expect(renewalDelay('2026-01-01T00:00:05Z', now)).toBe(15_000)
  })
})
