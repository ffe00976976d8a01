/** A subagent's own transcript, where its tool use stands. */
import { useTranslation } from 'react-i18next'
import { own } from '@/ui/own'
import { Revealed } from '@/ui/Revealed'
import { useSession } from '../session-context'
import { RowView } from '../RowView'
import { Markdown } from '../markdown/Markdown'
import type { ToolRow } from '../transcript/shape'
import { inputOf, resultText, text } from './input'

const NONE: readonly string[] = []

export function AgentBody({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const children = useSession((session) => own(session.children, row.toolUseId) ?? NONE)
  const prompt = text(inputOf(row), 'prompt')
  return (
    <div className="subagent" role="group" aria-label={t('chat.subagent')}>
      {prompt ? (
        <p className="subagent-task">
          <Revealed text={prompt} as="prose" />
        </p>
      ) : null}
      {children.map((id) => (
        <RowView key={id} id={id} nested />
      ))}
      {row.result ? (
        <div className="subagent-result">
          <Markdown text={resultText(row)} />
        </div>
      ) : null}
    </div>
  )
}
