import { QueryClient, QueryClientProvider } from '@tanstack/react-query'
import { render, screen, waitFor } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { I18nextProvider } from 'react-i18next'
import { expect, it, vi } from 'vitest'
import { createAccount } from '@/connection/account'
import { AccountContext } from '@/connection/account-context'
import { createI18n } from '@/i18n/i18n'
import { view } from '@/testing/wire'
import { HomePage } from './HomePage'

async function show() {
  const onPrompt = vi.fn()
  const account = createAccount(async (_url, options) =>
    Response.json(options?.method === 'POST' ? view({ id: 's7' }) : { profiles: [], notices: [] }),
  )
  render(
    <I18nextProvider i18n={await createI18n('en')}>
      <QueryClientProvider client={new QueryClient()}>
        <AccountContext value={account}>
          <HomePage onPrompt={onPrompt} />
        </AccountContext>
      </QueryClientProvider>
    </I18nextProvider>,
  )
  return onPrompt
}

it('begins a session with the idea that was chosen', async () => {
  const onPrompt = await show()
  await userEvent.click(screen.getByRole('button', { name: /command-line program/ }))
  await waitFor(() => expect(location.pathname).toBe('/s/s7'))
  expect(onPrompt).toHaveBeenCalledExactlyOnceWith(
    's7',
    'Write a small command-line program with tests, and run them.',
  )
})

it('sends nothing in a session that is begun without one', async () => {
  history.replaceState(null, '', '/')
  const onPrompt = await show()
  await userEvent.click(screen.getByRole('button', { name: 'New session' }))
  await waitFor(() => expect(location.pathname).toBe('/s/s7'))
  expect(onPrompt).not.toHaveBeenCalled()
})
