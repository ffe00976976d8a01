/** What a person prefers in this browser. Kept in local storage; nothing secret belongs here. */
import { createContext, useContext } from 'react'
import { useStore } from 'zustand'
import { createJSONStorage, persist } from 'zustand/middleware'
import { createStore, type StoreApi } from 'zustand/vanilla'

export interface Preferences {
  theme: 'system' | 'light' | 'dark'
  density: 'comfortable' | 'compact'
  announcements: 'off' | 'boundaries'
  locale: 'system' | 'en' | 'de'
  sidebar: boolean
  inspector: boolean
}

export type PreferencesStore = StoreApi<Preferences>

const DEFAULTS: Preferences = {
  theme: 'system',
  density: 'comfortable',
  announcements: 'boundaries',
  locale: 'system',
  sidebar: true,
  inspector: true,
}

export function createPreferences(): PreferencesStore {
  const storage = createJSONStorage<Preferences>(() => localStorage)
  return createStore<Preferences>()(
    persist(() => DEFAULTS, { name: 'casemate-preferences', ...(storage ? { storage } : {}) }),
  )
}

export const PreferencesContext = createContext<PreferencesStore | null>(null)

export function usePreferencesStore(): PreferencesStore {
  const store = useContext(PreferencesContext)
  if (!store) throw new Error('The page is not wrapped in its preferences.')
  return store
}

export function usePreferences<Part>(select: (preferences: Preferences) => Part): Part {
  return useStore(usePreferencesStore(), select)
}

/** Theme and density are attributes of the document: styles follow, nothing renders. */
export function applyPreferences({ theme, density }: Preferences, root: HTMLElement): void {
  if (theme === 'system') delete root.dataset['theme']
  else root.dataset['theme'] = theme
  root.dataset['density'] = density
}
