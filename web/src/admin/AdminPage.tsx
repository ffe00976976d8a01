/** For those who run Casemate: the pools, live, the walls, the people. */
import { useTranslation } from 'react-i18next'
import { useUser } from '@/connection/account-context'
import { AuditPanel } from './AuditPanel'
import { EgressPanel } from './EgressPanel'
import { PoolsPanel } from './PoolsPanel'
import { UsersPanel } from './UsersPanel'
import './admin.css'

export default function AdminPage() {
  const { t } = useTranslation()
  const { role } = useUser()
  return (
    <main className="admin" aria-label={t('admin.title')} tabIndex={-1}>
      <h1 className="admin-title">{t('admin.title')}</h1>
      {role === 'operator' ? <p className="notice">{t('admin.readOnly')}</p> : null}
      <PoolsPanel canEdit={role === 'admin'} />
      <EgressPanel />
      <UsersPanel canEdit={role === 'admin'} />
      {role === 'admin' ? <AuditPanel /> : null}
    </main>
  )
}
