/** What the simpler tools show when they are opened. */
import { useTranslation } from 'react-i18next'
import { Revealed } from '@/ui/Revealed'
import { TodoItems } from '../TodoItems'
import { Markdown } from '../markdown/Markdown'
import { Highlighted } from '../markdown/CodeBlock'
import type { ToolRow } from '../transcript/shape'
import { inputOf, json, records, resultText, text } from './input'

export function OutputBody({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const output = resultText(row)
  return (
    <>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it */}
      <pre className="tool-output" role="group" aria-label={t('chat.output')} tabIndex={0}>
        {output ? (
          <Revealed text={output} />
        ) : (
          <span className="muted">{t(row.result ? 'chat.silent' : 'chat.working')}</span>
        )}
      </pre>
      <Cut row={row} />
    </>
  )
}

export function JsonBody({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  return (
    <>
      <p className="tool-label">{t('chat.input')}</p>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it */}
      <pre className="tool-output" role="group" aria-label={t('chat.input')} tabIndex={0}>
        <Highlighted text={row.input ? json(row.input) : row.text} language="json" />
      </pre>
      {row.result ? (
        <>
          <p className="tool-label">{t('chat.output')}</p>
          <OutputBody row={row} />
        </>
      ) : null}
    </>
  )
}

export function TodosBody({ row }: { row: ToolRow }) {
  const todos = records(inputOf(row), 'todos').map((todo, index) => ({
    id: String(index),
    content: text(todo, 'content'),
    status: todo['status'] as 'pending' | 'in_progress' | 'completed',
  }))
  return <TodoItems todos={todos} />
}

export function AnswersBody({ row }: { row: ToolRow }) {
  const questions = records(inputOf(row), 'questions').map((each) => text(each, 'question'))
  const answers = row.answer?.answers ?? {}
  return (
    <div className="tool-prose">
      {questions.map((question) => (
        <p key={question}>
          <Revealed text={question} as="prose" />{' '}
          {answers[question] ? (
            <strong>
              <Revealed text={answers[question]} as="prose" />
            </strong>
          ) : null}
        </p>
      ))}
      {row.result && !row.answer ? <p className="muted">{resultText(row)}</p> : null}
    </div>
  )
}

export function PlanBody({ row }: { row: ToolRow }) {
  return (
    <div className="tool-prose">
      <Markdown text={text(inputOf(row), 'plan')} open={row.open} />
    </div>
  )
}

export function Failed({ row }: { row: ToolRow }) {
  if (!row.result?.is_error) return null
  return (
    <pre className="tool-output tool-failure">
      <Revealed text={resultText(row)} />
    </pre>
  )
}

/** Says when a result was too long to be sent whole. */
export function Cut({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const omitted = row.result?.omitted ?? 0
  return omitted > 0 ? <p className="tool-label">{t('chat.omitted', { count: omitted })}</p> : null
}
