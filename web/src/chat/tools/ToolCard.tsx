/** One tool call as one line; it opens in place. */
import { ChevronDown, ChevronRight } from 'lucide-react'
import { memo, useId, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { Revealed } from '@/ui/Revealed'
import { StateShape, type Shape } from '@/ui/StateShape'
import { useSession } from '../session-context'
import type { ToolRow } from '../transcript/shape'
import { inputOf } from './input'
import { toolView } from './registry'
import './tools.css'

const LONGEST_SUMMARY = 300

export const ToolCard = memo(function ToolCard({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const [open, setOpen] = useState(false)
  const asked = useSession(({ session }) => {
    const here = (other: { tool_use_id?: string | null }) => other.tool_use_id === row.toolUseId
    return (session?.permissions?.some(here) || session?.questions?.some(here)) ?? false
  })
  const bodyId = useId()
  const view = toolView(row.name)
  const state = stateOf(row, asked)
  const input = inputOf(row)
  const Icon = view.icon
  const Chevron = open ? ChevronDown : ChevronRight
  return (
    <div className="tool" data-state={state}>
      <button
        type="button"
        className="tool-row"
        aria-expanded={open}
        aria-controls={bodyId}
        onClick={() => setOpen(!open)}
      >
        <Chevron className="tool-chevron" size={14} aria-hidden="true" />
        <Icon className="tool-icon" size={15} aria-hidden="true" />
        <span className="tool-name">{view.title?.(row.name) ?? row.name}</span>
        <span className="tool-summary">
          <Revealed text={view.summary(input).slice(0, LONGEST_SUMMARY)} />
        </span>
        <span className="tool-meta">{view.meta?.(row, input, t)}</span>
        <ToolState state={state} />
      </button>
      <Decision row={row} />
      <Answer row={row} />
      <div id={bodyId} hidden={!open} className="tool-body">
        {open ? <view.Body row={row} /> : null}
        {open && !row.result && state === 'running' ? (
          <p className="tool-label">{t('chat.working')}</p>
        ) : null}
      </div>
    </div>
  )
})

type ToolState = 'running' | 'waiting' | 'failed' | 'denied' | 'done' | 'cut'

function stateOf(row: ToolRow, asked: boolean): ToolState {
  if (asked) return 'waiting'
  if (row.decision && row.decision.choice.startsWith('deny')) return 'denied'
  if (row.result) return row.result.is_error ? 'failed' : 'done'
  return row.open ? 'running' : 'cut'
}

const SHAPES: Record<ToolState, Shape | null> = {
  running: 'running',
  waiting: 'waiting',
  failed: 'failed',
  denied: 'ended',
  done: null,
  cut: 'ended',
}

function ToolState({ state }: { state: ToolState }) {
  const { t } = useTranslation()
  const shape = SHAPES[state]
  return (
    <span className="tool-state">
      {shape ? <StateShape shape={shape} /> : null}
      <span className={state === 'failed' || state === 'denied' ? '' : 'sr-only'}>
        {t(`chat.tool.${state}`)}
      </span>
    </span>
  )
}

function Decision({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const decision = row.decision
  if (!decision) return null
  const parts: string[] = [t(`permissions.said.${decision.choice}`, { name: decision.by })]
  if (decision.changed_input) parts.push(t('permissions.changed'))
  if (decision.reason) parts.push(`“${decision.reason}”`)
  return <p className="tool-decision">{parts.join(' · ')}</p>
}

function Answer({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  if (!row.answer) return null
  const { by, answers } = row.answer
  const given = Object.values(answers).map((answer) => `“${answer}”`)
  return (
    <p className="tool-decision">
      {[t('permissions.said.answered', { name: by }), ...given].join(' · ')}
    </p>
  )
}
