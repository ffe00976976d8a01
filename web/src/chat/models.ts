import { useQuery } from '@tanstack/react-query'
import { useApi } from '@/connection/account-context'
import { about } from '@/connection/resources'
import type { LifetimesView } from '@/protocol/rest.generated'

/** Names that the CLI resolves by itself, for a profile that allows a whole family. */
const FAMILIES = ['opus', 'sonnet', 'haiku']

/** What may be chosen: the profile's exact ids; where it has patterns, the families they allow. */
export function modelsOf(allowed: readonly string[]): string[] {
  const exact = allowed.filter((model) => !model.endsWith('*'))
  const open = allowed.some((model) => model === '*' || model === 'claude-*')
  return open ? [...exact, ...FAMILIES] : exact
}

export function useModels(profile: string): string[] {
  const api = useApi()
  const { data } = useQuery({ queryKey: ['about'], queryFn: () => about(api) })
  return modelsOf(data?.profiles.find(({ name }) => name === profile)?.models ?? [])
}

/** As the profile has them by default; a server of an older version does not tell. */
const LIMITS = { memory_soft: 0.8, storage_soft: 0.85 }

/** Parts of what a sandbox has, above which something is done about it. */
export function useLimits(profile: string): Pick<LifetimesView, 'memory_soft' | 'storage_soft'> {
  const api = useApi()
  const { data } = useQuery({ queryKey: ['about'], queryFn: () => about(api) })
  return data?.profiles.find(({ name }) => name === profile)?.lifetimes ?? LIMITS
}
