/** The instruments of a session: its name, how full the context is, what it cost, its line. */
import { Info, MoreHorizontal, PanelRight, Pencil, Power } from 'lucide-react'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { SocketStatus } from '@/connection/session-socket'
import { RenameDialog } from '@/sessions/RenameDialog'
import { shapeOf } from '@/sessions/states'
import { usePreferences, usePreferencesStore } from '@/settings/preferences'
import { ActionMenu } from '@/ui/ActionMenu'
import { IconButton } from '@/ui/Button'
import { Confirm, Dialog } from '@/ui/Dialog'
import { bytes, count, money } from '@/ui/format'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import { Panels } from './Inspector'
import { useSession, useSessionStore } from './session-context'
import './header.css'

export function SessionHeader() {
  const { t } = useTranslation()
  const title = useSession(({ session }) => session?.title || '')
  const state = useSession(({ session }) => session?.state ?? 'idle')
  const frozen = useSession(({ session }) => session?.state === 'idle' && !!session.frozen)
  return (
    <header className="header">
      <h1 className="header-title">
        <span className="header-state" data-frozen={frozen || undefined}>
          <StateShape
            shape={shapeOf(state)}
            label={frozen ? t('stays.resting') : t(`sessions.state.${state}`)}
          />
        </span>
        <span>
          <Revealed text={title || t('sessions.untitled')} as="prose" />
        </span>
      </h1>
      <Line />
      <ContextMeter />
      <Memory />
      <Cost />
      <InspectorToggle />
      <SessionActions />
    </header>
  )
}

const LINES: Record<SocketStatus, string> = {
  connecting: 'starting',
  online: 'online',
  reconnecting: 'starting',
  restarting: 'starting',
  offline: 'failed',
  'signed-out': 'failed',
  gone: 'failed',
}

/** Silent while all is well. */
function Line() {
  const { t } = useTranslation()
  const status = useSession((session) => session.status)
  if (status === 'online') return null
  return (
    <span className="header-line" data-line={LINES[status]}>
      <StateShape shape={LINES[status] === 'failed' ? 'failed' : 'starting'} />
      {t(`chat.line.${status}`)}
    </span>
  )
}

function ContextMeter() {
  const { t } = useTranslation()
  const used = useSession(({ session }) => session?.context_used ?? 0)
  const size = useSession(({ session }) => session?.context_window ?? 0)
  // It is measured after a turn: before the first an empty gauge, not a made-up figure.
  const percent = size > 0 ? Math.round(Math.min(1, used / size) * 100) : null
  const words =
    percent === null
      ? t('chat.contextUnknown')
      : t('chat.context', { used: count(used), size: count(size) })
  return (
    <span className="gauge" title={words}>
      <span className="gauge-label">{t('chat.contextShort')}</span>
      <span
        className="gauge-bar"
        role="meter"
        aria-label={t('chat.contextShort')}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={percent ?? 0}
        aria-valuetext={words}
        data-high={(percent ?? 0) > 80 || undefined}
      >
        <span style={{ width: `${percent ?? 0}%` }} />
      </span>
      <span className="mono" aria-hidden="true">
        {percent == null ? '–' : `${percent}%`}
      </span>
    </span>
  )
}

function Memory() {
  const { t } = useTranslation()
  const used = useSession(({ session }) => session?.memory_bytes ?? 0)
  const limit = useSession(({ session }) => session?.memory_limit ?? 0)
  if (used === 0) return null
  const title = t('chat.memory', { used: bytes(used), limit: bytes(limit) })
  return (
    <span className="header-figure header-memory mono" title={title}>
      {bytes(used)}
    </span>
  )
}

function Cost() {
  const { t } = useTranslation()
  const cost = useSession(({ session }) => session?.cost_usd ?? 0)
  return (
    <span className="header-figure mono" title={t('chat.cost')}>
      {money(cost)}
    </span>
  )
}

function InspectorToggle() {
  const { t } = useTranslation()
  const preferences = usePreferencesStore()
  const shown = usePreferences((now) => now.inspector)
  return (
    <IconButton
      className="header-inspector"
      label={t('chat.inspector')}
      aria-pressed={shown}
      onClick={() => preferences.setState({ inspector: !shown })}
    >
      <PanelRight size={16} aria-hidden="true" />
    </IconButton>
  )
}

function SessionActions() {
  const { t } = useTranslation()
  const store = useSessionStore()
  const title = useSession(({ session }) => session?.title ?? '')
  const over = useSession(({ session }) => ['ended', 'failed'].includes(session?.state ?? ''))
  const [asking, setAsking] = useState<'rename' | 'end' | 'details' | null>(null)
  const close = () => setAsking(null)
  const rename = { id: 'rename', label: t('sessions.rename'), icon: Pencil }
  const details = { id: 'details', label: t('chat.inspector'), icon: Info }
  const end = { id: 'end', label: t('sessions.end'), icon: Power, danger: true }
  const actions = [
    { ...rename, run: () => setAsking('rename') },
    { ...details, run: () => setAsking('details') },
    ...(over ? [] : [{ ...end, run: () => setAsking('end') }]),
  ]
  return (
    <>
      <ActionMenu label={t('sessions.actions')} icon={MoreHorizontal} actions={actions} />
      {asking === 'rename' ? (
        <RenameDialog title={title} onClose={close} onRename={(next) => store.rename(next)} />
      ) : null}
      <Dialog title={t('chat.inspector')} open={asking === 'details'} onClose={close}>
        <Panels />
      </Dialog>
      <Confirm
        open={asking === 'end'}
        title={t('sessions.endTitle')}
        text={t('sessions.endText')}
        action={t('sessions.end')}
        onClose={close}
        onConfirm={() => store.end()}
      />
    </>
  )
}
