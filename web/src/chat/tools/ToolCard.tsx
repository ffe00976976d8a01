/** One tool call as one line; it opens in place. */
import { ChevronDown, ChevronRight } from 'lucide-react'
import { memo, useId, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { Revealed } from '@/ui/Revealed'
import { StateShape, type Shape } from '@/ui/StateShape'
import { useSession } from '../session-context'
import type { ToolRow } from '../transcript/shape'
import { ruledBy } from '../guards'
import { inputOf } from './input'
import { toolView } from './registry'
import './tools.css'

const LONGEST_SUMMARY = 300

/** The rest is in the body, one press away. */
const cut = (summary: string) =>
  summary.length > LONGEST_SUMMARY ? `${summary.slice(0, LONGEST_SUMMARY)}…` : summary

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
        <span className="tool-name">
          <Revealed text={view.title?.(row.name) ?? row.name} as="line" />
        </span>
        <span className="tool-summary">
          <Revealed text={cut(view.summary(input))} as="line" />
        </span>
        <span className="tool-meta">
          <Revealed text={view.meta?.(row, input, t) ?? ''} as="line" />
        </span>
        <ToolState state={state} />
      </button>
      <Forbidden row={row} />
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

type ToolState = 'running' | 'waiting' | 'failed' | 'denied' | 'forbidden' | 'done' | 'cut'

function stateOf(row: ToolRow, asked: boolean): ToolState {
  if (asked) return 'waiting'
  if (row.forbidden) return 'forbidden'
  if (row.decision && row.decision.choice.startsWith('deny')) return 'denied'
  if (row.result) return row.result.is_error ? 'failed' : 'done'
  return row.open ? 'running' : 'cut'
}

const SHAPES: Record<ToolState, Shape | null> = {
  running: 'running',
  waiting: 'waiting',
  failed: 'failed',
  denied: 'ended',
  forbidden: 'ended',
  done: null,
  cut: 'ended',
}

/** For the eye as well: the others show by their shape. */
const SAID = new Set<ToolState>(['failed', 'denied', 'forbidden'])

function ToolState({ state }: { state: ToolState }) {
  const { t } = useTranslation()
  const shape = SHAPES[state]
  return (
    <span className="tool-state">
      {shape ? <StateShape shape={shape} /> : null}
      <span className={SAID.has(state) ? '' : 'sr-only'}>{t(`chat.tool.${state}`)}</span>
    </span>
  )
}

/** By whom is said as well: a person can ask whoever looks after that rule. */
function Forbidden({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  if (!row.forbidden) return null
  const { text, policy } = row.forbidden
  return (
    <p className="tool-decision tool-forbidden">
      {ruledBy(policy, t)} <Revealed text={text} as="prose" />
    </p>
  )
}

function Decision({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const decision = row.decision
  if (!decision) return null
  const parts: string[] = [t(`permissions.said.${decision.choice}`, { name: decision.by })]
  if (decision.changed_input) parts.push(t('permissions.changed'))
  if (decision.reason) parts.push(`“${decision.reason}”`)
  return (
    <p className="tool-decision">
      <Revealed text={parts.join(' · ')} as="prose" />
    </p>
  )
}

function Answer({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  if (!row.answer) return null
  const { by, answers } = row.answer
  const given = Object.values(answers).map((answer) => `“${answer}”`)
  return (
    <p className="tool-decision">
      <Revealed
        text={[t('permissions.said.answered', { name: by }), ...given].join(' · ')}
        as="prose"
      />
    </p>
  )
}
