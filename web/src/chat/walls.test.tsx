import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { render, screen } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import type { ReactNode } from 'react'
import { I18nextProvider } from 'react-i18next'
import { expect, it } from 'vitest'
import { createAccount } from '@/connection/account'
import { AccountContext } from '@/connection/account-context'
import type { Api } from '@/connection/api'
import { createI18n } from '@/i18n/i18n'
import type { Event } from '@/protocol/chat.generated'
import { accepted, sequenced, snapshot, started } from '@/testing/wire'
import { Composer } from './Composer'
import { RowView } from './RowView'
import { SessionContext } from './session-context'
import { createSessionStore } from './session-store'
import { receive } from './transcript/reduce'
import { EMPTY } from './transcript/shape'

async function show(told: Event[], beside: ReactNode = null) {
  const { transcript } = receive(EMPTY, [
    snapshot(told.map((event, index) => sequenced(index + 1, event))),
  ])
  const account = createAccount(async () => Response.json({ profiles: [], notices: [] }))
  const store = createSessionStore('s1', {} as Api)
  store.setState(transcript)
  render(
    <I18nextProvider i18n={await createI18n('en')}>
      <QueryClientProvider client={new QueryClient()}>
        <AccountContext value={account}>
          <SessionContext value={store}>
            {transcript.order.map((id) => (
              <RowView key={id} id={id} />
            ))}
            {beside}
          </SessionContext>
        </AccountContext>
      </QueryClientProvider>
    </I18nextProvider>,
  )
}

const prompt = [accepted('c1', 'Use the key sk-1.'), started('t1', 'c1')]

it('a prompt that was blocked says why and by what, and goes back into the composer', async () => {
  const blocked: Event = {
    type: 'prompt_blocked',
    turn_id: 't1',
    reason: 'It holds a key.',
    policy: 'no-keys',
  }
  await show([...prompt, blocked], <Composer />)
  expect(screen.getByText(/Not sent to Claude/)).toHaveTextContent(
    'Not sent to Claude. It holds a key. Refused by the policy no-keys.',
  )
  const box = screen.getByRole('textbox', { name: 'Your prompt' })
  await userEvent.type(box, 'begun')
  await userEvent.click(screen.getByRole('button', { name: 'Edit and send again' }))
  expect(box).toHaveValue('begun\nUse the key sk-1.')
  expect(box).toHaveFocus()
})

it('what was added for Claude is said under the prompt', async () => {
  const note: Event = {
    type: 'prompt_annotated',
    turn_id: 't1',
    note: 'Be careful.',
    policy: 'profile',
  }
  await show([...prompt, note])
  expect(screen.getByText(/Added for Claude/)).toHaveTextContent(
    'Added for Claude by the profile: Be careful.',
  )
})

it('a host that was blocked is named, with its count and the reason', async () => {
  const refused: Event = {
    type: 'egress_refused',
    host: 'a\u200b.example',
    port: 443,
    tag: 't',
    sentence: 'Not allowed.',
    count: 3,
  }
  await show([refused])
  const row = screen.getByRole('group', { name: 'What the sandbox tried to reach' })
  expect(row).toHaveTextContent(/Blocked:a.*⟨U\+200B⟩\.example:4433 times/)
  expect(row).toHaveTextContent('Not allowed.')
})

it('a tool that a rule refused says so on its card', async () => {
  await show([
    {
      type: 'tool_started',
      tool_use_id: 'u1',
      message_id: 'm',
      index: 0,
      name: 'Bash',
      input: { command: 'ls' },
    },
    {
      type: 'tool_forbidden',
      tool_name: 'Bash',
      reason: 'Not here.',
      policy: 'profile',
      tool_use_id: 'u1',
    },
    { type: 'tool_finished', tool_use_id: 'u1', content: [], is_error: true },
  ])
  expect(screen.getByText('refused by a rule')).toBeVisible()
  expect(screen.getByText(/Refused by a rule of the profile/)).toHaveTextContent('Not here.')
})

it('a file that was uploaded is a line with who, what and how much', async () => {
  await show([{ type: 'file_uploaded', path: 'a/b.txt', size: 2_048, by: 'ada' }])
  expect(screen.getByText('ada uploaded').closest('p')).toHaveTextContent(
    'ada uploaded a/b.txt 2 KiB',
  )
})
