/** Who did what: a page at a time, the newest first. */
import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useApi } from '@/connection/account-context'
import { listAudit, type AuditEntry, type AuditFilter } from '@/connection/resources'
import { Button } from '@/ui/Button'
import { Revealed } from '@/ui/Revealed'
import { AdminTable } from './AdminTable'
import { useMoment } from './moment'

const EVERYTHING: AuditFilter = { action: '', actor: '' }

export function AuditPanel() {
  const { t } = useTranslation()
  const api = useApi()
  const [filter, setFilter] = useState(EVERYTHING)
  const pages = useInfiniteQuery({
    queryKey: ['audit', filter.action, filter.actor],
    queryFn: ({ pageParam }) => listAudit(api, filter, pageParam),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  })
  const entries = pages.data?.pages.flatMap((page) => page.entries) ?? []
  return (
    <section aria-labelledby="audit">
      <h2 id="audit">{t('admin.audit.title')}</h2>
      <p className="admin-lead">{t('admin.audit.text')}</p>
      <FilterForm onFilter={setFilter} />
      {pages.isError ? (
        <p className="notice" data-tone="bad">
          {t('admin.audit.failed')}
        </p>
      ) : null}
      {pages.isSuccess && entries.length === 0 ? (
        <p className="muted">{t('admin.audit.none')}</p>
      ) : null}
      {entries.length > 0 ? <Table entries={entries} /> : null}
      {pages.hasNextPage ? (
        <Button
          variant="quiet"
          disabled={pages.isFetchingNextPage}
          onClick={() => void pages.fetchNextPage()}
        >
          {t('admin.audit.more')}
        </Button>
      ) : null}
    </section>
  )
}

function FilterForm({ onFilter }: { onFilter: (filter: AuditFilter) => void }) {
  const { t } = useTranslation()
  const [action, setAction] = useState('')
  const [actor, setActor] = useState('')
  return (
    <form
      className="user-add"
      aria-label={t('admin.audit.title')}
      onSubmit={(event) => {
        event.preventDefault()
        onFilter({ action: action.trim(), actor: actor.trim() })
      }}
    >
      <FilterField label={t('admin.audit.action')} value={action} onChange={setAction} />
      <FilterField label={t('admin.audit.actor')} value={actor} onChange={setActor} />
      <Button type="submit">{t('admin.audit.filter')}</Button>
    </form>
  )
}

interface FieldProps {
  label: string
  value: string
  onChange: (value: string) => void
}

const FilterField = ({ label, value, onChange }: FieldProps) => (
  <input
    className="input"
    type="search"
    aria-label={label}
    placeholder={label}
    value={value}
    maxLength={100}
    autoComplete="off"
    spellCheck={false}
    onChange={(event) => onChange(event.target.value)}
  />
)

const COLUMNS = ['at', 'actor', 'action', 'object', 'result', 'address', 'detail'] as const

function Table({ entries }: { entries: readonly AuditEntry[] }) {
  const { t } = useTranslation()
  const columns = COLUMNS.map((column) => t(`admin.audit.${column}`))
  return (
    <AdminTable kind="audit" labelledBy="audit" columns={columns}>
      {entries.map((entry) => (
        <Line key={entry.seq} entry={entry} />
      ))}
    </AdminTable>
  )
}

function Line({ entry }: { entry: AuditEntry }) {
  const { t } = useTranslation()
  const moment = useMoment()
  const cells = [
    [t('admin.audit.actor'), entry.actor],
    [t('admin.audit.action'), entry.action],
    [t('admin.audit.object'), entry.object],
    [t('admin.audit.result'), entry.result],
    [t('admin.audit.address'), entry.address],
    [t('admin.audit.detail'), entry.detail],
  ] as const
  return (
    <tr>
      <th scope="row" className="mono">
        {moment(entry.at)}
      </th>
      {cells.map(([label, text]) => (
        <td key={label} className="mono" data-label={label} data-none={text === '' || undefined}>
          <Revealed text={text} as="line" />
        </td>
      ))}
    </tr>
  )
}
