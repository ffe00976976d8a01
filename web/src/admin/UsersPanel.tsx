/** Who may sign in, and as what. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useTranslation } from 'react-i18next'
import { useState } from 'react'
import { useApi, useUser } from '@/connection/account-context'
import { ProblemAnswer } from '@/connection/api'
import { addUser, changeUser, linkFor, listUsers, type ManagedUser } from '@/connection/resources'
import type { Role } from '@/connection/account'
import { Button } from '@/ui/Button'
import { Choice } from '@/ui/Choice'
import { Dialog } from '@/ui/Dialog'
import { useMoment } from './moment'

const ROLES: readonly Role[] = ['user', 'operator', 'admin']
const KEY = ['users']

export function UsersPanel({ canEdit }: { canEdit: boolean }) {
  const { t } = useTranslation()
  const api = useApi()
  const [link, setLink] = useState<string | null>(null)
  const users = useQuery({ queryKey: KEY, queryFn: () => listUsers(api) })
  if (users.isError) return null
  return (
    <section aria-labelledby="users">
      <h2 id="users">{t('admin.users')}</h2>
      {canEdit ? <AddUser onLink={setLink} /> : null}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it */}
      <div className="admin-table" role="group" aria-labelledby="users" tabIndex={0}>
        <table>
          <thead>
            <tr>
              <th scope="col">{t('admin.name')}</th>
              <th scope="col">{t('admin.role')}</th>
              <th scope="col">{t('admin.lastSeen')}</th>
              <th scope="col">
                <span className="sr-only">{t('admin.actions')}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {users.data?.map((user) => (
              <UserLine key={user.id} user={user} canEdit={canEdit} onLink={setLink} />
            ))}
          </tbody>
        </table>
      </div>
      <LinkDialog link={link} onClose={() => setLink(null)} />
    </section>
  )
}

/** Whoever gets in by link chooses a password then: nobody has to tell one to anybody. */
function AddUser({ onLink }: { onLink: (link: string) => void }) {
  const { t } = useTranslation()
  const api = useApi()
  const client = useQueryClient()
  const [name, setName] = useState('')
  const [role, setRole] = useState<Role>('user')
  const add = useMutation({
    mutationFn: async () => linkFor(api, (await addUser(api, { name: name.trim(), role })).id),
    onSuccess: ({ url }) => {
      setName('')
      onLink(url)
    },
    onSettled: () => client.invalidateQueries({ queryKey: KEY }),
  })
  return (
    <form
      className="user-add"
      onSubmit={(event) => {
        event.preventDefault()
        if (name.trim()) add.mutate()
      }}
    >
      <input
        className="input"
        aria-label={t('admin.newName')}
        placeholder={t('admin.newName')}
        value={name}
        maxLength={64}
        autoComplete="off"
        onChange={(event) => setName(event.target.value)}
      />
      <RoleChoice role={role} onChoose={setRole} />
      <Button type="submit" disabled={!name.trim() || add.isPending}>
        {t('admin.add')}
      </Button>
      <p className="pool-problem" role="alert">
        {add.error instanceof ProblemAnswer
          ? `${add.error.problem.title} ${add.error.problem.detail ?? ''}`
          : ''}
      </p>
    </form>
  )
}

function RoleChoice(props: { role: Role; onChoose: (role: Role) => void; disabled?: boolean }) {
  const { t } = useTranslation()
  return (
    <Choice
      bordered
      label={t('admin.role')}
      value={props.role}
      disabled={props.disabled ?? false}
      options={ROLES.map((value) => ({ value, label: t(`admin.roles.${value}`) }))}
      onChoose={(value) => props.onChoose(value as Role)}
    />
  )
}

interface LineProps {
  user: ManagedUser
  canEdit: boolean
  onLink: (link: string) => void
}

function UserLine({ user, canEdit, onLink }: LineProps) {
  const { t } = useTranslation()
  const api = useApi()
  const me = useUser()
  const client = useQueryClient()
  const refresh = () => client.invalidateQueries({ queryKey: KEY })
  const change = useMutation({
    mutationFn: (wish: { role?: Role; disabled?: boolean }) => changeUser(api, user.id, wish),
    onSettled: refresh,
  })
  const link = useMutation({
    mutationFn: () => linkFor(api, user.id),
    onSuccess: ({ url }) => onLink(url),
  })
  const seen = useMoment()(user.last_seen_at)
  const own = user.id === me.id
  return (
    <tr data-disabled={user.disabled || undefined}>
      <th scope="row">
        {user.name} {user.disabled ? <span className="chip">{t('admin.disabled')}</span> : null}
      </th>
      <td>
        {canEdit && !own ? (
          <RoleChoice role={user.role} onChoose={(role) => change.mutate({ role })} />
        ) : (
          t(`admin.roles.${user.role}`)
        )}
      </td>
      <td className="mono user-seen" data-label={t('admin.lastSeen')}>
        {seen}
      </td>
      <td className="user-actions">
        {canEdit && !own ? (
          <>
            <Button variant="quiet" onClick={() => link.mutate()}>
              {t('admin.link')}
            </Button>
            <Button variant="quiet" onClick={() => change.mutate({ disabled: !user.disabled })}>
              {user.disabled ? t('admin.enable') : t('admin.disable')}
            </Button>
          </>
        ) : null}
      </td>
    </tr>
  )
}

function LinkDialog({ link, onClose }: { link: string | null; onClose: () => void }) {
  const { t } = useTranslation()
  return (
    <Dialog title={t('admin.linkTitle')} open={link !== null} onClose={onClose}>
      <p>{t('admin.linkText')}</p>
      <pre className="link-shown">{link}</pre>
      <div className="dialog-actions">
        <Button onClick={() => void navigator.clipboard.writeText(link ?? '')}>
          {t('admin.copy')}
        </Button>
        <Button variant="primary" onClick={onClose}>
          {t('ui.close')}
        </Button>
      </div>
    </Dialog>
  )
}
