/** The frame: sessions on the left, what is open in the middle, its inspector on the right. */
import { useQuery } from '@tanstack/react-query'
import { Gauge, Keyboard, LogOut, Menu, Settings2, X } from 'lucide-react'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { Link, useLocation } from 'wouter'
import { useAccount, useApi, useUser } from '@/connection/account-context'
import { about } from '@/connection/resources'
import { NewSession } from '@/sessions/NewSession'
import { SessionList } from '@/sessions/SessionList'
import { usePreferences } from '@/settings/preferences'
import { KeyTable, SettingsFields } from '@/settings/SettingsDialog'
import { Button, IconButton } from '@/ui/Button'
import { Dialog } from '@/ui/Dialog'
import { Wordmark } from '@/ui/Wordmark'
import { useAppKeys } from './keys'
import { PasswordForm } from './PasswordForm'
import './shell.css'

type Sheet = 'settings' | 'keys' | null

export function Shell({ children }: { children: React.ReactNode }) {
  const { t } = useTranslation()
  const [sheet, setSheet] = useState<Sheet>(null)
  const [location] = useLocation()
  // A drawer belongs to the page on which it was opened: going elsewhere closes it.
  const [openedAt, setOpenedAt] = useState<string | null>(null)
  const drawer = openedAt === location
  const close = () => setOpenedAt(null)
  const sidebar = usePreferences((preferences) => preferences.sidebar)
  useAppKeys({ help: () => setSheet('keys') })
  return (
    <div className="app" data-sidebar={sidebar || undefined} data-drawer={drawer || undefined}>
      <a className="skip-link" href="#main">
        {t('app.skip')}
      </a>
      <Banners onPassword={() => setSheet('settings')} />
      <IconButton
        className="drawer-button"
        label={drawer ? t('app.closeDrawer') : t('app.openDrawer')}
        aria-expanded={drawer}
        onClick={() => setOpenedAt(drawer ? null : location)}
      >
        {drawer ? <X size={18} aria-hidden="true" /> : <Menu size={18} aria-hidden="true" />}
      </IconButton>
      <Sidebar onSheet={setSheet} onLeave={close} />
      <button
        type="button"
        className="drawer-veil"
        tabIndex={-1}
        aria-hidden="true"
        onClick={close}
      />
      <div id="main" className="app-main" tabIndex={-1}>
        {children}
      </div>
      <Dialog
        title={t('settings.title')}
        open={sheet === 'settings'}
        onClose={() => setSheet(null)}
      >
        <SettingsFields />
        <PasswordForm />
      </Dialog>
      <Dialog title={t('settings.keys')} open={sheet === 'keys'} onClose={() => setSheet(null)}>
        <KeyTable />
      </Dialog>
    </div>
  )
}

interface SidebarProps {
  onSheet: (sheet: Sheet) => void
  onLeave: () => void
}

function Sidebar({ onSheet, onLeave }: SidebarProps) {
  const { t } = useTranslation()
  const account = useAccount()
  const user = useUser()
  const [location] = useLocation()
  const current = /^\/s\/([^/]+)/.exec(location)?.[1] ?? null
  return (
    <aside className="sidebar" aria-label={t('app.sidebar')} tabIndex={-1}>
      <div className="sidebar-head">
        <Link href="/" className="sidebar-home" onClick={onLeave}>
          <Wordmark />
        </Link>
        <NewSession onCreated={onLeave} />
      </div>
      <SessionList current={current} />
      <div className="sidebar-foot">
        {user.role === 'user' ? null : (
          <Link
            href="/admin"
            className="button sidebar-admin"
            data-variant="quiet"
            aria-current={location.startsWith('/admin') ? 'page' : undefined}
          >
            <Gauge size={16} aria-hidden="true" />
            {t('app.admin')}
          </Link>
        )}
        <span className="sidebar-user" title={user.role}>
          {user.name}
        </span>
        <IconButton label={t('settings.title')} onClick={() => onSheet('settings')}>
          <Settings2 size={16} aria-hidden="true" />
        </IconButton>
        <IconButton label={t('settings.keys')} onClick={() => onSheet('keys')}>
          <Keyboard size={16} aria-hidden="true" />
        </IconButton>
        <IconButton label={t('app.signOut')} onClick={() => void account.signOut()}>
          <LogOut size={16} aria-hidden="true" />
        </IconButton>
      </div>
    </aside>
  )
}

/** What everybody should know: above all that the model is scripted. */
function Banners({ onPassword }: { onPassword: () => void }) {
  const { t } = useTranslation()
  const noPassword = useUser().has_password === false
  const api = useApi()
  const { data } = useQuery({ queryKey: ['about'], queryFn: () => about(api) })
  const [hidden, setHidden] = useState(false)
  const notices = data?.notices ?? []
  const scripted = data?.model === 'scripted' && notices.length === 0
  const sentences = hidden ? [] : [...(scripted ? [t('app.scripted')] : []), ...notices]
  if (sentences.length === 0 && !noPassword) return null
  return (
    <section className="banner" aria-label={t('app.notices')}>
      <span>{sentences.join(' ')}</span>
      {noPassword ? (
        <Button variant="quiet" onClick={onPassword}>
          {t('password.missing')}
        </Button>
      ) : null}
      {sentences.length > 0 ? (
        <IconButton label={t('app.hide')} onClick={() => setHidden(true)}>
          <X size={14} aria-hidden="true" />
        </IconButton>
      ) : null}
    </section>
  )
}
