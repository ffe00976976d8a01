import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { act, render, screen, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { I18nextProvider } from 'react-i18next'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { createAccount } from '@/connection/account'
import { AccountContext } from '@/connection/account-context'
import { createI18n } from '@/i18n/i18n'
import type { BrowserCommand, Event, SequencedEvent, SessionView } from '@/protocol/chat.generated'
import { createPreferences, PreferencesContext } from '@/settings/preferences'
import { FakeSocket } from '@/testing/FakeSocket'
import { accepted, ended, permission, sequenced, snapshot, started, view } from '@/testing/wire'
import { Announcer } from '@/ui/announcer'
import { SessionPage } from './SessionPage'

const CHECKPOINTS = {
  checkpoints: [
    {
      id: 'k2',
      created_at: '2026-01-05T11:00:00Z',
      seq: 9,
      turn_id: 't2',
      size: 2_097_152,
      unpacked: 4_194_304,
      entries: 12,
      omitted: 1,
    },
    {
      id: 'k1',
      created_at: '2026-01-05T10:00:00Z',
      seq: 4,
      turn_id: 't1',
      size: 1_024,
      unpacked: 2_048,
      entries: 3,
      omitted: 0,
    },
  ],
}

beforeEach(() => {
  vi.stubGlobal('WebSocket', FakeSocket)
  FakeSocket.all = []
  localStorage.clear()
})
afterEach(() => vi.unstubAllGlobals())

const answers = async (input: RequestInfo | URL) =>
  Response.json(
    String(input).includes('/checkpoints')
      ? CHECKPOINTS
      : { profiles: [], notices: [], entries: [], path: '', truncated: false, omitted: 0 },
  )

async function open(change: Partial<SessionView>, told: Event[] = []) {
  const account = createAccount(answers)
  account.store.setState({ phase: 'signed-in', user: { id: '1', name: 'ada', role: 'user' } }, true)
  render(
    <I18nextProvider i18n={await createI18n('en')}>
      <PreferencesContext value={createPreferences()}>
        <QueryClientProvider client={new QueryClient()}>
          <AccountContext value={account}>
            <Announcer>
              <SessionPage id="s1" />
            </Announcer>
          </AccountContext>
        </QueryClientProvider>
      </PreferencesContext>
    </I18nextProvider>,
  )
  FakeSocket.last.accept()
  await say(snapshot(listed(told), view(change)))
}

const listed = (told: Event[]): SequencedEvent[] =>
  told.map((event, index) => sequenced(index + 1, event))

async function say(frame: Parameters<FakeSocket['say']>[0]) {
  await act(async () => {
    FakeSocket.last.say(frame)
    await new Promise((resolve) => setTimeout(resolve, 40)) // the pump delivers with the frame
  })
}

const changed = (change: Partial<SessionView>) =>
  say({ type: 'session_changed', seq: 0, session: view(change) })

const sent = (type: BrowserCommand['type']) =>
  FakeSocket.all.flatMap((socket) => socket.sent).filter((command) => command.type === type)

const unfinished = { client_id: 'c1', text: 'Build it.', by: 'ada', sentence: 'It died.' }
const turn = [accepted('c1', 'Build it.'), started('t1', 'c1'), ended('t1')]

it('a session that sleeps says so, is woken by a button, and takes a prompt', async () => {
  await open({ state: 'hibernated' }, turn)
  expect(screen.getByText('Asleep. It wakes when you write.')).toBeVisible()
  await userEvent.click(screen.getByRole('button', { name: 'Wake it' }))
  expect(sent('wake')).toHaveLength(1)
  await userEvent.type(screen.getByRole('textbox', { name: 'Your prompt' }), 'Good morning{Enter}')
  expect(sent('prompt')).toMatchObject([{ text: 'Good morning' }])
  expect(screen.getByRole('list', { name: 'Waiting prompts' })).toHaveTextContent('Good morning')
})

it('how far the waking is, is told as it is', async () => {
  await open({ state: 'waking', place: 3 }, turn)
  expect(screen.getByText('Waking: place 3 in the queue for a sandbox.')).toBeVisible()
  await changed({ state: 'waking', restoring_bytes: 12 << 20 })
  expect(screen.getByText('Putting your files back (12 MiB)…')).toBeVisible()
  await changed({ state: 'waking', turn_id: 't1' })
  expect(screen.getByText('Waking to carry out your answer…')).toBeVisible()
  await changed({ state: 'idle' })
  expect(screen.queryByText(/Waking|Putting/)).not.toBeInTheDocument()
})

it('a draft stays where it is while the session falls asleep and wakes', async () => {
  await open({ state: 'idle' }, turn)
  const box = screen.getByRole('textbox', { name: 'Your prompt' })
  await userEvent.type(box, 'half a thought')
  for (const state of ['hibernated', 'waking', 'idle'] as const) await changed({ state })
  expect(box).toHaveValue('half a thought')
  expect(box).toBeInTheDocument()
})

it('an unfinished prompt is run again once, however often one presses', async () => {
  await open({ state: 'idle', unfinished }, turn)
  const card = screen.getByRole('region', { name: 'Your last message was not finished' })
  expect(card).toHaveTextContent('Build it.')
  const button = screen.getByRole('button', { name: 'Run it again' })
  await userEvent.click(button)
  expect(screen.getByRole('textbox', { name: 'Your prompt' })).toHaveFocus()
  expect(button).toBeDisabled()
  await userEvent.click(button)
  expect(sent('run_again')).toMatchObject([{ unfinished: 'c1' }])
})

it('an unfinished prompt goes wherever it was decided, and comes back where that failed', async () => {
  await open({ state: 'idle', unfinished }, turn)
  await userEvent.click(screen.getByRole('button', { name: 'Let it go' }))
  const problem = { tag: 'storage_failed', title: 'Not now.', status: 503 }
  await say({ type: 'command_refused', seq: 0, problem, command: 'let_go' })
  expect(screen.getByRole('button', { name: 'Let it go' })).toBeEnabled()
  await changed({ state: 'idle' })
  expect(screen.queryByRole('button', { name: 'Let it go' })).not.toBeInTheDocument()
})

it('somebody else’s unfinished prompt is said to be theirs', async () => {
  await open({ state: 'idle', unfinished: { ...unfinished, by: 'grace' } })
  expect(screen.getByText('The last message, by grace, was not finished')).toBeVisible()
})

it('a permission of a session that sleeps can be answered', async () => {
  const asked = permission('p1') as Extract<Event, { type: 'permission_requested' }>
  await open({ state: 'hibernated', turn_id: 't1', permissions: [asked] }, turn.slice(0, 2))
  await userEvent.click(screen.getByRole('button', { name: /^Allow once/ }))
  expect(sent('decide_permission')).toMatchObject([{ permission_id: 'p1' }])
})

it('a notice is one banner with a countdown, said once, and goes by itself', async () => {
  const notice = { tag: 'upstream_down', sentence: 'Claude cannot be reached.' }
  const until = new Date(Date.now() + 42_000).toISOString()
  await open({ notices: [{ ...notice, until }] }, turn)
  const banner = screen.getByRole('region', { name: 'What concerns every session now' })
  expect(banner).toHaveTextContent(/Claude cannot be reached\.next try in 0:4[0-2]/)
  await act(() => new Promise((resolve) => setTimeout(resolve, 100)))
  const status = screen.getByRole('status')
  expect(status).toHaveTextContent('Claude cannot be reached.')
  await changed({ state: 'running', notices: [{ ...notice, until: until.replace('Z', '1Z') }] })
  await changed({ state: 'idle' })
  expect(banner).not.toBeInTheDocument()
})

it('a death reads as one line, with the way back to what was kept', async () => {
  await open({ state: 'idle' }, [
    accepted('c1', 'Build it.'),
    started('t1', 'c1'),
    { type: 'text_written', message_id: 'm', index: 0, text: 'I begin', cut: true },
    { type: 'turn_ended', turn_id: 't1', outcome: 'failed', subtype: 'sandbox_lost' },
    { type: 'sandbox_lost', tag: 'oom', sentence: 'The sandbox ran out of memory.' },
    { type: 'sandbox_assigned', sandbox_id: 'x', reason: 'recovered' },
    { ...(accepted('c2', 'Build it.') as object), again: 'c1' } as Event,
    started('t2', 'c2'),
    ended('t2'),
    { type: 'checkpoint_taken', checkpoint_id: 'k1', size: 1, entries: 1 },
  ])
  const line = screen.getByText('The sandbox ran out of memory. Restored in a new one.')
  expect(line).toBeVisible()
  expect(screen.getByText('not finished')).toBeVisible()
  expect(screen.queryByText('The turn failed.')).not.toBeInTheDocument()
  const ribbon = within(screen.getByRole('navigation', { name: 'Turns' }))
  const segments = ribbon.getAllByRole('button')
  expect(segments.map(({ dataset }) => dataset['outcome'])).toEqual(['cut', 'completed'])
  expect(segments[0]).toHaveAccessibleName(/^Turn 1: not finished/)
  expect(screen.getByText('Run again:').closest('p')).toHaveTextContent('Run again: Build it.')
  await userEvent.click(screen.getByRole('button', { name: 'Go back to here' }))
  expect(screen.getByText(/Claude’s memory become as they were then/)).toBeVisible()
  await userEvent.click(screen.getByRole('button', { name: 'Go back' }))
  expect(sent('go_back')).toEqual([{ type: 'go_back', checkpoint_id: 'k1' }])
})

it('checkpoints are listed, downloaded, taken, and gone back to after a word', async () => {
  await open({ state: 'idle', checkpoint_id: 'k2' }, turn)
  const list = await screen.findByRole('list', { name: 'Checkpoints' })
  expect(list).toHaveTextContent(/latest1 file could not be carried2\.0 MiB/)
  const links = screen.getAllByRole('link', { name: /^Download the files of/ })
  expect(links[1]).toHaveAttribute('href', '/api/v1/sessions/s1/checkpoints/k1/content')
  await userEvent.click(screen.getByRole('button', { name: 'Take one now' }))
  await userEvent.click(screen.getByRole('button', { name: 'Put to sleep' }))
  expect([sent('take_checkpoint'), sent('hibernate')].flat()).toHaveLength(2)
  const [, older] = screen.getAllByRole('button', { name: /^Go back to \d|^Go back to .*:/ })
  await userEvent.click(older as HTMLElement)
  expect(sent('go_back')).toEqual([])
  await userEvent.click(screen.getByRole('button', { name: 'Go back' }))
  expect(sent('go_back')).toEqual([{ type: 'go_back', checkpoint_id: 'k1' }])
})

it('in a turn nothing is taken and nobody goes back', async () => {
  await open({ state: 'running', turn_id: 't1', checkpoint_id: 'k2' }, turn)
  await screen.findByRole('list', { name: 'Checkpoints' })
  for (const name of ['Take one now', 'Put to sleep']) {
    expect(screen.getByRole('button', { name })).toBeDisabled()
  }
})

it('what fills up is a gauge that says so', async () => {
  const change = { memory_bytes: 900 << 20, memory_limit: 1 << 30, home_bytes: 0, home_limit: 8 }
  await open({ state: 'idle', ...change }, turn)
  const gauge = screen.getByRole('meter', { name: 'Memory' })
  expect(gauge).toHaveAttribute('aria-valuetext', '900 MiB of 1.0 GiB, nearly full')
  expect(screen.getByRole('meter', { name: 'Home' })).toHaveAttribute('aria-valuenow', '0')
})

it('a restart that was announced is no broken line', async () => {
  const notices = [{ tag: 'restarting', sentence: 'Casemate restarts.' }]
  await open({ state: 'idle', notices }, turn)
  await act(async () => FakeSocket.last.drop(1006))
  expect(screen.getByText('Casemate restarts; your session continues')).toBeVisible()
})
