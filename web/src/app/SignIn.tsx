/** Name and password, or a one-time link that the server printed. */
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { useAccount } from '@/connection/account-context'
import { ProblemAnswer } from '@/connection/api'
import { Button } from '@/ui/Button'
import { Wordmark } from '@/ui/Wordmark'
import { Field } from './Field'
import './sign-in.css'

export function SignInPage({ linkCode }: { linkCode: string | null }) {
  const { t } = useTranslation()
  return (
    <main className="sign-in">
      <div className="sign-in-frame">
        <h1>
          <Wordmark />
        </h1>
        <p className="sign-in-lead">{t('signIn.lead')}</p>
        <SignInForm linkCode={linkCode} />
      </div>
    </main>
  )
}

export function SignInForm({ linkCode, name = '' }: { linkCode?: string | null; name?: string }) {
  const { t } = useTranslation()
  const account = useAccount()
  const [username, setUsername] = useState(name)
  const [password, setPassword] = useState('')
  const [problem, setProblem] = useState('')
  const [busy, setBusy] = useState(false)

  const attempt = async (enter: () => Promise<void>) => {
    setBusy(true)
    setProblem('')
    try {
      await enter()
    } catch (error) {
      setPassword('')
      setProblem(error instanceof ProblemAnswer ? sentence(error) : t('ui.unreachable'))
    } finally {
      setBusy(false)
    }
  }
  useRedeemedOnce(linkCode ?? null, (code) => void attempt(() => account.redeemLink(code)))
  return (
    <form
      className="sign-in-form"
      onSubmit={(event) => {
        event.preventDefault()
        void attempt(() => account.signIn(username, password))
      }}
    >
      <Field
        label={t('signIn.name')}
        name="username"
        autoComplete="username"
        autoCapitalize="none"
        spellCheck={false}
        value={username}
        onChange={(event) => setUsername(event.target.value)}
      />
      <Field
        label={t('signIn.password')}
        name="password"
        type="password"
        autoComplete="current-password"
        value={password}
        onChange={(event) => setPassword(event.target.value)}
      />
      <p className="sign-in-problem" role="alert">
        {problem}
      </p>
      <Button type="submit" variant="primary" disabled={busy}>
        {busy ? t('signIn.busy') : t('signIn.enter')}
      </Button>
    </form>
  )
}

const sentence = ({ problem }: ProblemAnswer) => `${problem.title} ${problem.detail ?? ''}`.trim()

/** A code works once: rendering twice must not spend it twice. */
function useRedeemedOnce(code: string | null, redeem: (code: string) => void): void {
  const spent = useRef<string | null>(null)
  useEffect(() => {
    if (!code || spent.current === code) return
    spent.current = code
    redeem(code)
  })
}
