/** Where a person types. What is sent while Claude works waits its turn, in sight. */
import { CornerDownLeft, Square } from 'lucide-react'
import type { TFunction } from 'i18next'
import { useEffect, useState, type KeyboardEvent } from 'react'
import { useTranslation } from 'react-i18next'
import { Link } from 'wouter'
import type { SessionState } from '@/protocol/chat.generated'
import { Button } from '@/ui/Button'
import { COMPOSER_ID, focusComposer } from './composer-focus'
import { keepDraft, readDraft } from './drafts'
import { ModeChoice, ModelChoice } from './choices'
import { Queue } from './Queue'
import { useSession, useSessionStore } from './session-context'
import { useStop } from './stopping'
import './composer.css'

const LONGEST = 1 << 20

export function Composer() {
  const { t } = useTranslation()
  const store = useSessionStore()
  const id = useSession((session) => session.id)
  const state = useSession((session) => session.session?.state)
  const over = state === 'ended' || state === 'failed' || state === 'ending'
  const [text, setText] = useState(() => readDraft(id))
  useEffect(() => keepDraft(id, text), [id, text])
  useEffect(
    () =>
      store.subscribe(({ returned }, before) => {
        if (!returned || returned === before.returned) return
        setText((typed) => (typed.trim() === '' ? returned.text : `${typed}\n${returned.text}`))
        focusComposer()
      }),
    [store],
  )

  const tooLong = text.length > LONGEST / 4 && new Blob([text]).size > LONGEST
  const sendable = text.trim() !== '' && !tooLong
  const send = () => {
    if (!sendable) return
    store.prompt(text)
    setText('')
  }
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return
    event.preventDefault()
    send()
  }
  if (over) return <Over />
  return (
    <form
      className="composer"
      aria-label={t('chat.composer')}
      onSubmit={(event) => {
        event.preventDefault()
        send()
      }}
    >
      <Queue />
      <label className="sr-only" htmlFor={COMPOSER_ID}>
        {t('chat.prompt')}
      </label>
      <textarea
        id={COMPOSER_ID}
        className="composer-text"
        rows={1}
        value={text}
        placeholder={placeholderOf(state, t)}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
        aria-invalid={tooLong}
      />
      {tooLong ? <p className="composer-problem">{t('chat.tooLong')}</p> : null}
      <Bar sendable={sendable} />
    </form>
  )
}

function placeholderOf(state: SessionState | undefined, t: TFunction): string {
  if (state === 'running') return t('chat.placeholderBusy')
  return state === 'waking' ? t('chat.placeholderWaking') : t('chat.placeholder')
}

function Bar({ sendable }: { sendable: boolean }) {
  const { t } = useTranslation()
  return (
    <div className="composer-bar">
      <ModeChoice />
      <ModelChoice />
      <span className="composer-space" />
      <StopButton />
      <Button
        type="submit"
        variant="primary"
        className="composer-send"
        disabled={!sendable}
        aria-label={t('chat.send')}
        title={t('chat.sendHint')}
      >
        <CornerDownLeft size={16} aria-hidden="true" />
      </Button>
    </div>
  )
}

function StopButton() {
  const { t } = useTranslation()
  const { phase, stop } = useStop()
  if (phase === 'idle') return null
  return (
    <Button onClick={stop} disabled={phase === 'stopping'} title={t('chat.stopHint')}>
      <Square size={12} fill="currentColor" aria-hidden="true" />
      {phase === 'stopping' ? t('chat.stopping') : t('chat.stop')}
    </Button>
  )
}

/** The session is over: it stays readable, and the way on is a new one. Why is said once. */
function Over() {
  const { t } = useTranslation()
  const sentence = useSession(({ session }) => session?.ending?.sentence)
  const told = useSession(({ rows, order }) => {
    const last = rows[order.at(-1) ?? '']
    return last?.kind === 'mark' && last.text === sentence
  })
  return (
    <div className="composer composer-over">
      <p>{told ? t('chat.over') : (sentence ?? t('chat.over'))}</p>
      <Link className="button" data-variant="primary" href="/">
        {t('sessions.new')}
      </Link>
    </div>
  )
}
