/** Claude asks: one or several questions, each with choices and room for an answer of one's own. */
import { useId, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { Question, QuestionAsked } from '@/protocol/chat.generated'
import { Button } from '@/ui/Button'
import { own } from '@/ui/own'
import { Revealed } from '@/ui/Revealed'
import { StateShape } from '@/ui/StateShape'
import { answerText, complete, NOT_ANSWERED, type Given } from './answers'

export interface QuestionCardProps {
  asked: QuestionAsked
  sending: boolean
  onAnswer: (answers: Record<string, string>) => void
}

export function QuestionCard({ asked, sending, onAnswer }: QuestionCardProps) {
  const { t } = useTranslation()
  const [given, setGiven] = useState<Record<string, Given>>({})
  const of = (question: Question) => own(given, question.question) ?? NOT_ANSWERED
  const ready = asked.questions.every((question) => complete(of(question)))
  const submit = () => {
    const pairs = asked.questions.map((q) => [q.question, answerText(q, of(q))] as const)
    onAnswer(Object.fromEntries(pairs))
  }
  return (
    <form
      className="questions"
      onSubmit={(event) => {
        event.preventDefault()
        if (ready && !sending) submit()
      }}
    >
      <h2 className="dock-title" tabIndex={-1}>
        <StateShape shape="waiting" label={t('permissions.waits')} />
        {t('permissions.asks', { count: asked.questions.length })}
      </h2>
      {asked.questions.map((question) => (
        <QuestionFields
          key={question.question}
          question={question}
          given={of(question)}
          onChange={(next) => setGiven({ ...given, [question.question]: next })}
        />
      ))}
      <div className="dock-actions">
        <Button type="submit" variant="primary" disabled={!ready || sending}>
          {t('permissions.answer')}
        </Button>
        {sending ? <span className="dock-sending">{t('permissions.sending')}</span> : null}
      </div>
    </form>
  )
}

interface FieldsProps {
  question: Question
  given: Given
  onChange: (given: Given) => void
}

function QuestionFields({ question, given, onChange }: FieldsProps) {
  const { t } = useTranslation()
  const name = useId()
  const several = question.multi_select ?? false
  const toggle = (label: string) => {
    if (!several) return onChange({ ...given, chosen: [label], own: '' })
    const without = given.chosen.filter((other) => other !== label)
    onChange({
      ...given,
      chosen: without.length < given.chosen.length ? without : [...given.chosen, label],
    })
  }
  return (
    <fieldset className="question">
      <legend>
        {question.header ? (
          <span className="chip">
            <Revealed text={question.header} as="line" />
          </span>
        ) : null}{' '}
        <Revealed text={question.question} as="prose" />
      </legend>
      {(question.options ?? []).map((option) => (
        <label key={option.label} className="option">
          <input
            type={several ? 'checkbox' : 'radio'}
            name={name}
            checked={given.chosen.includes(option.label)}
            onChange={() => toggle(option.label)}
          />
          <span>
            <Revealed text={option.label} as="prose" />
            {option.description ? (
              <span className="option-hint">
                <Revealed text={option.description} as="prose" />
              </span>
            ) : null}
            {option.preview ? (
              <pre className="option-preview">
                <Revealed text={option.preview} as="exact" />
              </pre>
            ) : null}
          </span>
        </label>
      ))}
      <input
        className="input"
        aria-label={t('permissions.own')}
        placeholder={t('permissions.own')}
        value={given.own}
        onChange={({ target }) =>
          onChange({ chosen: several ? given.chosen : [], own: target.value })
        }
      />
    </fieldset>
  )
}
