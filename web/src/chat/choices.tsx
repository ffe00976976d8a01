/** What a running session may still change: the model, and what Claude may do unasked. */
import { useMemo } from 'react'
import { useTranslation } from 'react-i18next'
import type { PermissionMode, SessionState } from '@/protocol/chat.generated'
import { Choice } from '@/ui/Choice'
import { useModels } from './models'
import { useSession, useSessionStore } from './session-context'

/** There is nobody to be told of a choice. */
const SANDBOXLESS: ReadonlySet<SessionState> = new Set(['waiting', 'waking', 'hibernated'])
const MODES: readonly PermissionMode[] = ['default', 'acceptEdits', 'plan', 'dontAsk']

export function ModeChoice() {
  const { t } = useTranslation()
  const store = useSessionStore()
  const mode = useSession((session) => session.session?.permission_mode ?? 'default')
  const ready = useReady()
  const options = MODES.map((value) => ({
    value,
    label: t(`permissions.mode.${value}`),
    hint: t(`permissions.modeHint.${value}`),
  }))
  return (
    <Choice
      label={t('permissions.modeLabel')}
      value={mode}
      options={options}
      disabled={!ready}
      onChoose={(value) => store.chooseMode(value as PermissionMode)}
    />
  )
}

export function ModelChoice() {
  const { t } = useTranslation()
  const store = useSessionStore()
  const model = useSession((session) => session.session?.model ?? '')
  const profile = useSession((session) => session.session?.profile ?? '')
  const models = useModels(profile)
  const ready = useReady()
  const options = useMemo(
    () =>
      [...new Set([model, ...models])].filter(Boolean).map((value) => ({ value, label: value })),
    [model, models],
  )
  if (options.length === 0) return null
  return (
    <Choice
      label={t('chat.model')}
      value={model}
      options={options}
      disabled={!ready}
      onChoose={(value) => store.chooseModel(value)}
    />
  )
}

function useReady(): boolean {
  return useSession(
    ({ status, session }) =>
      status === 'online' && session !== null && !SANDBOXLESS.has(session.state),
  )
}
