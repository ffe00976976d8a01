import { act, fireEvent, render, screen } from '@testing-library/react'
import { Profiler, type ReactNode } from 'react'
import { I18nextProvider } from 'react-i18next'
import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createAccount } from '@/connection/account'
import { AccountContext } from '@/connection/account-context'
import { createI18n } from '@/i18n/i18n'
import { createPreferences, PreferencesContext } from '@/settings/preferences'
import { FakeSocket } from '@/testing/FakeSocket'
import {
  accepted,
  delta,
  ended,
  events,
  sequenced,
  snapshot,
  started,
  view,
  written,
} from '@/testing/wire'
import { SessionPage } from './SessionPage'

const rendered = vi.hoisted(() => ({ markdown: [] as string[] }))
vi.mock('react-markdown', () => ({
  default: ({ children }: { children: string }) => {
    rendered.markdown.push(children)
    return <p>{children}</p>
  },
}))

const commits: string[] = []

async function open(children: ReactNode) {
  const words = await createI18n('en')
  const account = createAccount(
    async () => new Response('{"profiles":[],"notices":[],"checkpoints":[]}'),
  )
  account.store.setState({ phase: 'signed-in', user: { id: '1', name: 'ada', role: 'user' } }, true)
  render(
    <I18nextProvider i18n={words}>
      <PreferencesContext value={createPreferences()}>
        <QueryClientProvider client={new QueryClient()}>
          <AccountContext value={account}>{children}</AccountContext>
        </QueryClientProvider>
      </PreferencesContext>
    </I18nextProvider>,
  )
  FakeSocket.last.accept()
}

const frame = async () => act(() => vi.advanceTimersByTimeAsync(20))

beforeEach(() => {
  vi.useFakeTimers()
  vi.stubGlobal('WebSocket', FakeSocket)
  FakeSocket.all = []
  rendered.markdown = []
  commits.length = 0
})
afterEach(() => {
  vi.unstubAllGlobals()
  vi.useRealTimers()
})

describe('streaming', () => {
  it('renders the open block alone, a hundred tokens a second', async () => {
    await open(
      <Profiler id="page" onRender={(id) => commits.push(id)}>
        <SessionPage id="s1" />
      </Profiler>,
    )
    const before = [
      sequenced(1, accepted('c1', 'hello')),
      sequenced(2, started('t1', 'c1')),
      sequenced(3, written('An earlier message.', 0)),
      sequenced(4, written('Another one.', 1)),
    ]
    FakeSocket.last.say(snapshot(before, view({ state: 'running', turn_id: 't1' })))
    await frame()
    const opening = 'A first paragraph.\n\nA second one.\n\nA third: '
    FakeSocket.last.say(events([sequenced(5, delta(opening, 0, 2))]))
    await frame()
    rendered.markdown = []
    commits.length = 0
    let offset = opening.length
    for (let token = 0; token < 100; token += 1) {
      FakeSocket.last.say(events([sequenced(6 + token, delta('word ', offset, 2))]))
      offset += 5
      await act(() => vi.advanceTimersByTimeAsync(10))
    }
    await frame()
    expect(screen.getByText(/A third: (word ?){100}/)).toBeInTheDocument()
    expect(rendered.markdown.every((text) => text.startsWith('A third'))).toBe(true)
    // One per animation frame, not one per token.
    expect(rendered.markdown.length).toBeLessThanOrEqual(75)
    expect(commits.length).toBeLessThanOrEqual(75)
  })

  it('shows a prompt at once, and in the same place when it is confirmed', async () => {
    await open(<SessionPage id="s1" />)
    FakeSocket.last.say(
      snapshot([sequenced(1, accepted('c0', 'first')), sequenced(2, ended('t0'))]),
    )
    await frame()
    const composer = screen.getByRole('textbox', { name: 'Your prompt' })
    await act(async () => {
      fireEvent.change(composer, { target: { value: 'and *this*' } })
      fireEvent.keyDown(composer, { key: 'Enter' })
    })
    expect(screen.getByText('and *this*')).toBeInTheDocument()
    expect(screen.getByText('sending…')).toBeInTheDocument()
    const prompt = FakeSocket.last.sent.find((command) => command.type === 'prompt')
    const clientId = prompt?.type === 'prompt' ? prompt.client_id : ''
    FakeSocket.last.say(events([sequenced(3, accepted(clientId, 'and *this*'))]))
    await frame()
    expect(screen.queryByText('sending…')).not.toBeInTheDocument()
    expect(screen.getAllByText('and *this*')).toHaveLength(1)
  })

  it('keeps a draft over a reload', async () => {
    localStorage.setItem('casemate-draft:s1', 'half a thought')
    await open(<SessionPage id="s1" />)
    FakeSocket.last.say(snapshot())
    await frame()
    expect(screen.getByRole('textbox', { name: 'Your prompt' })).toHaveValue('half a thought')
  })

  it('is no live region', async () => {
    await open(<SessionPage id="s1" />)
    FakeSocket.last.say(snapshot([sequenced(1, accepted('c0', 'first'))]))
    await frame()
    expect(screen.getByRole('log')).toHaveAttribute('aria-live', 'off')
  })
})
