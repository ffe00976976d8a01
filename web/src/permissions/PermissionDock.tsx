/**
 * Between transcript and composer: what Claude waits for. It never takes the focus from somebody who
 * types; F6 or Alt+P leads here, and the answer leads back.
 */
import { ChevronLeft, ChevronRight } from 'lucide-react'
import { useEffect, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type {
  PermissionDecision,
  PermissionRequested,
  Problem,
  QuestionAsked,
} from '@/protocol/chat.generated'
import { IconButton } from '@/ui/Button'
import { own } from '@/ui/own'
import { PermissionCard } from './PermissionCard'
import { QuestionCard } from './QuestionCard'
import './dock.css'

export interface DockProps {
  permissions: readonly PermissionRequested[]
  questions: readonly QuestionAsked[]
  /** What was decided here and is on its way, by id. */
  deciding: Readonly<Record<string, string>>
  /** Why the last decision was not taken, until there is another one. */
  turnedAway: Problem | null
  onDecide: (id: string, decision: PermissionDecision) => void
  onAnswer: (id: string, answers: Record<string, string>) => void
  /** Where the focus goes when the last one is answered. */
  onDone: () => void
}

export function PermissionDock(props: DockProps) {
  const { t } = useTranslation()
  const [place, setPlace] = useState(0)
  const section = useRef<HTMLElement>(null)
  const waiting = [...props.permissions, ...props.questions]
  const index = Math.min(place, Math.max(0, waiting.length - 1))
  const current = waiting[index]
  useReturnOfFocus(section, waiting.length, props.onDone)
  useDockKey(section)
  if (!current) return <section ref={section} hidden />
  return (
    <section ref={section} className="dock-frame" aria-label={t('permissions.dock')} tabIndex={-1}>
      <div className="dock fades">
        {waiting.length > 1 ? (
          <div className="dock-places">
            <IconButton
              label={t('permissions.previous')}
              disabled={index === 0}
              onClick={() => setPlace(index - 1)}
            >
              <ChevronLeft size={16} aria-hidden="true" />
            </IconButton>
            <span className="mono">
              {index + 1}/{waiting.length}
            </span>
            <IconButton
              label={t('permissions.next')}
              disabled={index === waiting.length - 1}
              onClick={() => setPlace(index + 1)}
            >
              <ChevronRight size={16} aria-hidden="true" />
            </IconButton>
          </div>
        ) : null}
        {current.type === 'permission_requested' ? (
          <PermissionCard
            key={keyOf(current, props.turnedAway)}
            asked={current}
            turnedAway={props.turnedAway}
            deciding={own(props.deciding, current.permission_id) ?? null}
            onDecide={(decision) => props.onDecide(current.permission_id, decision)}
          />
        ) : (
          <QuestionCard
            key={current.question_id}
            asked={current}
            sending={own(props.deciding, current.question_id) !== undefined}
            onAnswer={(answers) => props.onAnswer(current.question_id, answers)}
          />
        )}
      </div>
    </section>
  )
}

/** With another input, or after a refusal, it is another request: nothing of the old card stays. */
const keyOf = (asked: PermissionRequested, turnedAway: Problem | null) =>
  [asked.permission_id, asked.input_hash, turnedAway?.tag].join(' ')

/** Alt+P leads to the heading, not to "Allow": a key that is still held must approve nothing. */
function useDockKey(section: React.RefObject<HTMLElement | null>): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (!event.altKey || event.code !== 'KeyP') return
      event.preventDefault()
      section.current?.querySelector<HTMLElement>('h2')?.focus()
    }
    addEventListener('keydown', onKey)
    return () => removeEventListener('keydown', onKey)
  }, [section])
}

function useReturnOfFocus(
  section: React.RefObject<HTMLElement | null>,
  waiting: number,
  onDone: () => void,
): void {
  const inside = useRef(false)
  useEffect(() => {
    const look = () => {
      inside.current = section.current?.contains(document.activeElement) ?? false
    }
    document.addEventListener('focusin', look)
    return () => document.removeEventListener('focusin', look)
  }, [section])
  useEffect(() => {
    // The element that had the focus is gone, and with it the focus.
    if (!inside.current || section.current?.contains(document.activeElement)) return
    if (waiting === 0) {
      inside.current = false
      onDone()
    } else section.current?.querySelector<HTMLElement>('h2')?.focus()
  }, [section, waiting, onDone])
}
