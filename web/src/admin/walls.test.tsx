import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { render, screen, within } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import type { ReactNode } from 'react'
import { I18nextProvider } from 'react-i18next'
import { expect, it } from 'vitest'
import { createAccount } from '@/connection/account'
import { AccountContext } from '@/connection/account-context'
import { createI18n } from '@/i18n/i18n'
import { AT } from '@/testing/wire'
import { AuditPanel } from './AuditPanel'
import { EgressPanel } from './EgressPanel'
import { PoolsPanel } from './PoolsPanel'

async function show(panel: ReactNode, answer: (url: URL) => unknown) {
  const account = createAccount(async (url) =>
    Response.json(answer(new URL(String(url), 'http://casemate.test'))),
  )
  render(
    <I18nextProvider i18n={await createI18n('en')}>
      <QueryClientProvider client={new QueryClient()}>
        <AccountContext value={account}>{panel}</AccountContext>
      </QueryClientProvider>
    </I18nextProvider>,
  )
}

it('pools come with what becomes of sessions beside them', async () => {
  const sessions = { awake: 5, frozen: 2, hibernated: 31, adopted: 1 }
  await show(<PoolsPanel canEdit={false} />, () => ({ pools: [], sessions }))
  const frozen = await screen.findByText('of those frozen')
  expect(frozen.nextSibling).toHaveTextContent('2')
  expect(screen.getByText('hibernating').nextSibling).toHaveTextContent('31')
  expect(screen.getByText('taken over at the last start').nextSibling).toHaveTextContent('1')
})

it('refused hosts come with the line that would allow them', async () => {
  const times = { first_at: AT, last_at: AT }
  const refusals = [
    {
      profile: 'default',
      host: 'pypi.example.org',
      port: 443,
      tag: 'host_not_allowed',
      count: 7,
      ...times,
    },
    { profile: 'default', host: '10.0.0.1', port: 80, tag: 'bad_address', count: 1, ...times },
  ]
  await show(<EgressPanel />, () => ({ refusals, dropped: 3 }))
  const row = await screen.findByRole('row', { name: /pypi/ })
  expect(row).toHaveTextContent('{ host = "pypi.example.org", ports = [443] },')
  await userEvent.click(
    within(row).getByRole('button', { name: 'Copy the line for pypi.example.org' }),
  )
  expect(await navigator.clipboard.readText()).toContain('pypi.example.org')
  expect(within(screen.getByRole('row', { name: /10\.0\.0\.1/ })).queryByRole('button')).toBeNull()
  expect(screen.getByText('3 more were not kept.')).toBeVisible()
})

it('the audit log is filtered, and shows older ones when asked', async () => {
  const asked: string[] = []
  await show(<AuditPanel />, (url) => {
    asked.push(url.search)
    const seq = url.searchParams.has('before') ? 4 : 9
    const detail = 'role: admin\u202e'
    const entry = {
      at: AT,
      actor: 'ada',
      action: 'user.changed',
      object: 'grace',
      result: 'ok',
      address: '',
    }
    return { entries: [{ seq, ...entry, detail }], next_cursor: seq === 9 ? '9' : null }
  })
  expect(await screen.findByText('user.changed')).toBeVisible()
  expect(screen.getByText(/role: admin/).closest('td')).toHaveTextContent('⟨U+202E⟩')
  await userEvent.click(screen.getByRole('button', { name: 'Show older ones' }))
  await expect.poll(() => screen.getAllByText('user.changed')).toHaveLength(2)
  expect(screen.queryByRole('button', { name: 'Show older ones' })).toBeNull()
  await userEvent.type(screen.getByRole('searchbox', { name: 'Who' }), 'ada')
  await userEvent.click(screen.getByRole('button', { name: 'Show' }))
  await expect.poll(() => asked.at(-1)).toBe('?limit=50&actor=ada')
  expect(asked.slice(0, 2)).toEqual(['?limit=50', '?limit=50&before=9'])
})
