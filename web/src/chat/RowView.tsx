/** One row of the transcript, whatever it is; renders again only when that row changes. */
import { memo } from 'react'
import { useTranslation } from 'react-i18next'
import { brief, clock, money } from '@/ui/format'
import { Revealed } from '@/ui/Revealed'
import { Markdown } from './markdown/Markdown'
import { FailureNotice, MarkLine, Note, Thought } from './rows'
import { UserTurn } from './UserTurn'
import { useSession } from './session-context'
import { CheckpointMark, CutMark, StayLine, WarningLine } from './stays'
import { ToolCard } from './tools/ToolCard'
import type { Row, TurnRow } from './transcript/shape'
import { EgressNotice, Upload } from './walls'

export interface RowViewProps {
  id: string
  /** The first of Claude's rows after a person's: it carries the name. */
  lead?: boolean
  nested?: boolean
}

export const RowView = memo(function RowView({ id, lead = false, nested = false }: RowViewProps) {
  const row = useSession((session) => session.rows[id])
  if (!row) return null
  if (nested) return <div className="row-nested">{contentOf(row)}</div>
  const margin = <Margin row={row} lead={lead} />
  return (
    <div className="row" data-kind={row.kind} data-row={id} id={`row-${id}`} tabIndex={-1}>
      <div className="row-margin">{margin}</div>
      <div className="row-content">{contentOf(row)}</div>
    </div>
  )
})

function contentOf(row: Row): React.ReactNode {
  switch (row.kind) {
    case 'user':
      return <UserTurn row={row} />
    case 'text':
      return <AgentText text={row.text} open={row.open} cut={row.cut} />
    case 'thought':
      return <Thought row={row} />
    case 'tool':
      return <ToolCard row={row} />
    case 'note':
      return <Note row={row} />
    case 'failure':
      return <FailureNotice row={row} />
    case 'egress':
      return <EgressNotice row={row} />
    case 'upload':
      return <Upload row={row} />
    case 'mark':
      return <MarkLine row={row} />
    case 'stay':
      return <StayLine row={row} />
    case 'warning':
      return <WarningLine row={row} />
    case 'checkpoint':
      return <CheckpointMark id={row.checkpointId} />
    case 'turn':
      return <TurnEnd row={row} />
  }
}

function AgentText({ text, open, cut }: { text: string; open: boolean; cut: boolean }) {
  return (
    <div className="agent-text" data-open={open || undefined}>
      <Markdown text={text} open={open} caret />
      {cut ? <CutMark /> : null}
    </div>
  )
}

function Margin({ row, lead }: { row: Row; lead: boolean }) {
  const { t } = useTranslation()
  if (row.kind === 'user') return <span className="row-name">{t('chat.you')}</span>
  if (row.kind === 'turn') return <TurnFigures row={row} />
  const took = row.kind === 'tool' && row.tookMs !== null && row.tookMs >= 1000 ? row.tookMs : null
  return (
    <>
      {lead ? <span className="row-name">{t('chat.claude')}</span> : null}
      {took === null || lead ? null : <span className="row-figure">{clock(took)}</span>}
    </>
  )
}

/** What the turn took, in the margin: time above money. */
function TurnFigures({ row }: { row: TurnRow }) {
  const { t } = useTranslation()
  const turn = useSession((session) => session.turns.find((other) => other.id === row.turnId))
  if (!turn) return null
  return (
    <span className="row-figure" title={t('chat.turnTook')}>
      {brief(turn.durationMs)}
      {turn.costUsd > 0 ? <span className="row-cost">{money(turn.costUsd)}</span> : null}
    </span>
  )
}

function TurnEnd({ row }: { row: TurnRow }) {
  const { t } = useTranslation()
  const turn = useSession((session) => session.turns.find((other) => other.id === row.turnId))
  const told = useSession((session) => {
    const before = session.order[session.order.indexOf(row.id) - 1] ?? ''
    const last = session.rows[before]
    return last?.kind === 'failure' || (last?.kind === 'user' && last.blocked !== null)
  })
  const mark = row.checkpointId ? <CheckpointMark id={row.checkpointId} /> : null
  if (!turn || turn.outcome === 'completed' || turn.lost || told) {
    return <div className="turn-rule">{mark}</div>
  }
  const text = turn.outcome === 'failed' ? turn.text : ''
  return (
    <div className="turn-outcome" data-outcome={turn.outcome}>
      <span>{t(`chat.turn.${turn.outcome}`)}</span>
      {text ? (
        <span className="turn-text">
          <Revealed text={text} as="prose" />
        </span>
      ) : null}
      {mark}
    </div>
  )
}
