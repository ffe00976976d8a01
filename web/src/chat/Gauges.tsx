/** How full the sandbox is: its memory, and the two file systems that are in memory as well. */
import { useTranslation } from 'react-i18next'
import { bytes } from '@/ui/format'
import { useLimits } from './models'
import { useSession } from './session-context'

interface GaugeProps {
  name: string
  hint: string
  used: number
  size: number
  /** The part above which something is done about it. */
  soft: number
}

export function Gauges() {
  const { t } = useTranslation()
  const view = useSession(({ session }) => session)
  const limits = useLimits(view?.profile ?? '')
  if (!view) return null
  return (
    <div className="fills">
      <Gauge
        name={t('stays.gauge.memory')}
        hint={t('stays.gauge.memoryHint')}
        used={view.memory_bytes ?? 0}
        size={view.memory_limit ?? 0}
        soft={limits.memory_soft}
      />
      <Gauge
        name={t('stays.gauge.home')}
        hint={t('stays.gauge.homeHint')}
        used={view.home_bytes ?? 0}
        size={view.home_limit ?? 0}
        soft={limits.storage_soft}
      />
      <Gauge
        name={t('stays.gauge.workspace')}
        hint={t('stays.gauge.workspaceHint')}
        used={view.workspace_bytes ?? 0}
        size={view.workspace_limit ?? 0}
        soft={limits.storage_soft}
      />
    </div>
  )
}

function Gauge({ name, hint, used, size, soft }: GaugeProps) {
  const { t } = useTranslation()
  if (size <= 0) return null
  const part = Math.min(1, used / size)
  const high = part >= soft
  const words = { used: bytes(used), size: bytes(size) }
  return (
    <div className="fill" title={hint}>
      <span className="fill-name">{name}</span>
      <span
        className="fill-bar"
        role="meter"
        aria-label={name}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(part * 100)}
        aria-valuetext={t(high ? 'stays.gauge.near' : 'stays.gauge.text', words)}
        data-high={high || undefined}
      >
        <span style={{ width: `${part * 100}%` }} />
        <i style={{ left: `${soft * 100}%` }} />
      </span>
      <span className="fill-figure mono" aria-hidden="true">
        {t('stays.gauge.text', words)}
      </span>
    </div>
  )
}
