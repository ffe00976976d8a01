/** What sandboxes tried to reach and may not: per profile, with what would allow it. */
import { useQuery } from '@tanstack/react-query'
import { Check, Copy } from 'lucide-react'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useApi } from '@/connection/account-context'
import { listRefusedHosts, type RefusedHost } from '@/connection/resources'
import { IconButton } from '@/ui/Button'
import { Revealed } from '@/ui/Revealed'
import { revealedText } from '@/ui/revealed'
import { AdminTable } from './AdminTable'
import { allowanceOf } from './allowance'
import { useMoment } from './moment'

const REFRESH_MS = 5_000

export function EgressPanel() {
  const { t } = useTranslation()
  const api = useApi()
  const hosts = useQuery({
    queryKey: ['egress'],
    queryFn: () => listRefusedHosts(api),
    refetchInterval: REFRESH_MS,
  })
  const refusals = hosts.data?.refusals ?? []
  const dropped = hosts.data?.dropped ?? 0
  return (
    <section aria-labelledby="egress">
      <h2 id="egress">{t('admin.egress.title')}</h2>
      <p className="admin-lead">{t('admin.egress.text')}</p>
      {hosts.isError ? (
        <p className="notice" data-tone="bad">
          {t('admin.egress.failed')}
        </p>
      ) : null}
      {hosts.isSuccess && refusals.length === 0 ? (
        <p className="muted">{t('admin.egress.none')}</p>
      ) : null}
      {refusals.length > 0 ? <Table refusals={refusals} /> : null}
      {dropped > 0 ? (
        <p className="muted">{t('admin.egress.dropped', { count: dropped })}</p>
      ) : null}
    </section>
  )
}

const COLUMNS = ['host', 'profile', 'why', 'count', 'last', 'allow'] as const

function Table({ refusals }: { refusals: readonly RefusedHost[] }) {
  const { t } = useTranslation()
  const columns = COLUMNS.map((column) => t(`admin.egress.${column}`))
  return (
    <AdminTable kind="egress" labelledBy="egress" columns={columns}>
      {refusals.map((refused) => (
        <Line
          key={`${refused.profile} ${refused.host}:${refused.port} ${refused.tag}`}
          refused={refused}
        />
      ))}
    </AdminTable>
  )
}

function Line({ refused }: { refused: RefusedHost }) {
  const { t } = useTranslation()
  const moment = useMoment()
  return (
    <tr>
      <th scope="row" className="mono">
        <Revealed text={`${refused.host}:${refused.port}`} as="line" />
      </th>
      <td className="mono" data-label={t('admin.egress.profile')}>
        <Revealed text={refused.profile} as="line" />
      </td>
      <td data-label={t('admin.egress.why')}>
        {t(`admin.egress.tag.${refused.tag}`, {
          defaultValue: revealedText(refused.tag, 'line'),
        })}
      </td>
      <td className="mono" data-label={t('admin.egress.count')}>
        {refused.count}
      </td>
      <td className="mono" data-label={t('admin.egress.last')}>
        {moment(refused.last_at)}
      </td>
      <td className="egress-allow" data-label={t('admin.egress.allow')}>
        <Allowance refused={refused} />
      </td>
    </tr>
  )
}

const SHOWN_MS = 1_500

function Allowance({ refused }: { refused: RefusedHost }) {
  const { t } = useTranslation()
  const [copied, setCopied] = useState(false)
  const line = allowanceOf(refused)
  if (!line) return <span className="muted">–</span>
  const copy = async () => {
    await navigator.clipboard.writeText(line)
    setCopied(true)
    setTimeout(() => setCopied(false), SHOWN_MS)
  }
  const Icon = copied ? Check : Copy
  const label = copied ? t('admin.egress.copied') : t('admin.egress.copy', { host: refused.host })
  return (
    <span className="egress-line">
      <code>{line}</code>
      <IconButton label={label} onClick={() => void copy()}>
        <Icon size={14} aria-hidden="true" />
      </IconButton>
    </span>
  )
}
