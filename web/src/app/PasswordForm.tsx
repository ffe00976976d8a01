/** One's own password: chosen after a sign-in by link, changed later. */
import { useMutation } from '@tanstack/react-query'
import { useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useAccount, useUser } from '@/connection/account-context'
import { ProblemAnswer } from '@/connection/api'
import { Button } from '@/ui/Button'
import { Field } from './Field'

export function PasswordForm() {
  const { t } = useTranslation()
  const account = useAccount()
  const known = useUser().has_password !== false
  const [current, setCurrent] = useState('')
  const [next, setNext] = useState('')
  const save = useMutation({
    mutationFn: () => account.choosePassword(next, known ? current : null),
    onSuccess: () => {
      setCurrent('')
      setNext('')
    },
  })
  return (
    <form
      className="password-form"
      aria-label={t('password.title')}
      onSubmit={(event) => {
        event.preventDefault()
        if (!save.isPending) save.mutate()
      }}
    >
      {known ? (
        <Field
          label={t('password.current')}
          type="password"
          autoComplete="current-password"
          value={current}
          onChange={(event) => setCurrent(event.target.value)}
        />
      ) : null}
      <Field
        label={t('password.next')}
        type="password"
        autoComplete="new-password"
        value={next}
        onChange={(event) => setNext(event.target.value)}
      />
      <Button type="submit" aria-disabled={save.isPending}>
        {known ? t('password.save') : t('password.choose')}
      </Button>
      <p role="status">{save.isSuccess ? t('password.done') : problemOf(save.error)}</p>
    </form>
  )
}

const problemOf = (error: Error | null) =>
  error instanceof ProblemAnswer ? `${error.problem.title} ${error.problem.detail ?? ''}` : ''
