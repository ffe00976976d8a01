/** One segment per turn, as wide as it was long: where one is, what failed, a way to jump there. */
import type { KeyboardEvent } from 'react'
import { useTranslation } from 'react-i18next'
import { clock, money } from '@/ui/format'
import { useSession } from './session-context'
import { userRowId, type Turn } from './transcript/shape'

const SHORTEST_S = 2

export function RunRibbon() {
  const { t } = useTranslation()
  const turns = useSession((session) => session.turns)
  const asking = useSession(({ session }) => session?.state === 'asking')
  if (turns.length === 0) return <div className="ribbon" />
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- arrows between its buttons
    <nav className="ribbon" aria-label={t('chat.ribbon')} onKeyDown={walk}>
      {turns.map((turn, index) => {
        const live = turn.outcome === 'running' || turn.outcome === 'stopping'
        const outcome = live && asking ? 'asking' : cutOr(turn)
        return (
          <button
            key={turn.id}
            type="button"
            className="ribbon-turn"
            data-outcome={outcome}
            tabIndex={index === turns.length - 1 ? 0 : -1}
            style={{ flexGrow: Math.max(SHORTEST_S, turn.durationMs / 1000) }}
            aria-label={labelOf(turn, index, t)}
            title={labelOf(turn, index, t)}
            onClick={() => jumpTo(turn)}
          />
        )
      })}
    </nav>
  )
}

/** A turn whose sandbox went away did not fail: it was cut off, and may have been run again since. */
const cutOr = ({ outcome, lost }: Turn) => (lost && outcome === 'failed' ? 'cut' : outcome)

function labelOf(turn: Turn, index: number, t: ReturnType<typeof useTranslation>['t']): string {
  return t('chat.turnLabel', {
    number: index + 1,
    outcome: t(`chat.turn.${cutOr(turn)}`),
    time: clock(turn.durationMs),
    cost: money(turn.costUsd),
  })
}

function jumpTo(turn: Turn): void {
  const row = document.getElementById(`row-${userRowId(turn.clientId)}`)
  row?.scrollIntoView({ block: 'start' })
  row?.focus({ preventScroll: true })
}

function walk(event: KeyboardEvent<HTMLElement>): void {
  const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0
  if (step === 0) return
  const buttons = [...event.currentTarget.querySelectorAll('button')]
  const here = buttons.indexOf(document.activeElement as HTMLButtonElement)
  buttons[here + step]?.focus()
  event.preventDefault()
}
