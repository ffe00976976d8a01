/** Starts a session; asks for the profile only where there are several. */
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useLocation } from 'wouter'
import { useApi } from '@/connection/account-context'
import { about } from '@/connection/resources'
import { Choice } from '@/ui/Choice'
import { useCreateSession } from './queries'
import { CreateProblem, NewSessionButton } from './SessionList'

export function NewSession({ onCreated }: { onCreated?: () => void }) {
  const { t } = useTranslation()
  const api = useApi()
  const [, navigate] = useLocation()
  const [chosen, setChosen] = useState<string | null>(null)
  const { data } = useQuery({ queryKey: ['about'], queryFn: () => about(api) })
  const create = useCreateSession((view) => {
    navigate(`/s/${view.id}`)
    onCreated?.()
  })
  const profiles = data?.profiles ?? []
  const profile = chosen ?? profiles[0]?.name ?? null
  return (
    <div className="new-session-frame">
      <NewSessionButton pending={create.isPending} onPress={() => create.mutate(profile)} />
      {profiles.length > 1 && profile ? (
        <Choice
          bordered
          label={t('sessions.profile')}
          value={profile}
          options={profiles.map((one) => ({
            value: one.name,
            label: one.title,
            hint: one.description,
          }))}
          onChoose={setChosen}
        />
      ) : null}
      {create.error ? <CreateProblem error={create.error} /> : null}
    </div>
  )
}
