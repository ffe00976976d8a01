/** Starts a session; asks for the profile only where there are several. */
import { useQuery } from '@tanstack/react-query'
import { useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useLocation } from 'wouter'
import { useApi } from '@/connection/account-context'
import { about } from '@/connection/resources'
import { Choice } from '@/ui/Choice'
import { Ideas } from './Ideas'
import { useCreateSession } from './queries'
import { CreateProblem, NewSessionButton } from './SessionList'

export interface NewSessionProps {
  onCreated?: () => void
  /** With it, first prompts are offered: choosing one starts a session with it. */
  onPrompt?: (sessionId: string, prompt: string) => void
}

export function NewSession({ onCreated, onPrompt }: NewSessionProps) {
  const { t } = useTranslation()
  const api = useApi()
  const [, navigate] = useLocation()
  const [chosen, setChosen] = useState<string | null>(null)
  const { data } = useQuery({ queryKey: ['about'], queryFn: () => about(api) })
  const first = useRef<string | null>(null)
  const create = useCreateSession((view) => {
    if (first.current !== null) onPrompt?.(view.id, first.current)
    navigate(`/s/${view.id}`)
    onCreated?.()
  })
  const profiles = data?.profiles ?? []
  const profile = chosen ?? profiles[0]?.name ?? null
  const start = (prompt: string | null) => {
    first.current = prompt
    create.mutate(profile)
  }
  return (
    <div className="new-session-frame">
      <NewSessionButton pending={create.isPending} onPress={() => start(null)} />
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
      {onPrompt ? (
        <>
          <p className="home-ideas">{t('sessions.ideas')}</p>
          <Ideas disabled={create.isPending} onChoose={start} />
        </>
      ) : null}
    </div>
  )
}
