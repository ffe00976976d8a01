import { createContext, useContext } from 'react'
import { useStore } from 'zustand'
import type { Account, AccountState, User } from './account'
import type { Api } from './api'

export const AccountContext = createContext<Account | null>(null)

export function useAccount(): Account {
  const account = useContext(AccountContext)
  if (!account) throw new Error('The page is not wrapped in its account.')
  return account
}

export const useApi = (): Api => useAccount().api

export function useAccountState(): AccountState {
  return useStore(useAccount().store)
}

/** Whoever is or was a moment ago signed in: what the page is drawn for. */
export function useUser(): User {
  const state = useAccountState()
  if (state.phase === 'signed-in' || state.phase === 'expired') return state.user
  throw new Error('Nobody is signed in.')
}
