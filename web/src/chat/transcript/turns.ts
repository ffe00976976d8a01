/** Prompts, turns and what they cost. */
import type {
  PromptAccepted,
  TurnEnded,
  TurnStarted,
  UsageMetered,
} from '@/protocol/chat.generated'
import { closeOpenBlocks } from './blocks'
import type { Draft } from './draft'
import { userRowId, type UserRow } from './shape'

/** How a turn ends whose sandbox went away under it. */
const LOST = 'sandbox_lost'

export function acceptPrompt(draft: Draft, event: PromptAccepted, at: string): void {
  const id = userRowId(event.client_id)
  if (event.queued) {
    draft.remove(id)
    const queue = draft.get('session')?.queue ?? []
    if (queue.some((prompt) => prompt.client_id === event.client_id)) return
    const { client_id, text, by } = event
    draft.session({ queue: [...queue, { client_id, text, by }] })
  } else putPrompt(draft, event.client_id, { ...event, at })
  if (event.again) settleUnfinished(draft, event.again)
}

/** It is run again, or let go: nobody is asked any more. */
export function settleUnfinished(draft: Draft, clientId: string): void {
  if (draft.get('session')?.unfinished?.client_id === clientId) draft.session({ unfinished: null })
}

export function removePrompt(draft: Draft, clientId: string): void {
  const queue = draft.get('session')?.queue ?? []
  draft.session({ queue: queue.filter((prompt) => prompt.client_id !== clientId) })
}

export function startTurn(draft: Draft, event: TurnStarted, at: string): void {
  const waiting = queuedPrompt(draft, event.client_id)
  if (waiting && !draft.get('order').includes(userRowId(event.client_id))) {
    putPrompt(draft, event.client_id, { ...waiting, at })
  }
  removePrompt(draft, event.client_id)
  const turn = { id: event.turn_id, clientId: event.client_id, startedAt: at, durationMs: 0 }
  draft.set('turns', [
    ...draft.get('turns'),
    { ...turn, outcome: 'running', costUsd: 0, text: '', lost: false },
  ])
}

export function endTurn(draft: Draft, event: TurnEnded, at: string): void {
  closeOpenBlocks(draft)
  draft.set('busy', null)
  draft.turn(event.turn_id, (turn) => ({
    ...turn,
    outcome: event.outcome,
    durationMs: event.duration_ms || Math.max(0, Date.parse(at) - Date.parse(turn.startedAt)),
    text: [event.text, ...(event.errors ?? [])].filter(Boolean).join('\n'),
    lost: event.subtype === LOST,
  }))
  const id = `turn:${event.turn_id}`
  draft.put({ kind: 'turn', id, at, parent: null, turnId: event.turn_id, checkpointId: '' })
}

/** The gateway does not know turns: what it counts belongs to the one that runs, or ran last. */
export function meterUsage(draft: Draft, event: UsageMetered): void {
  const last = draft.get('turns').at(-1)
  if (last) {
    draft.turn(last.id, (turn) => ({ ...turn, costUsd: turn.costUsd + event.cost_usd }))
  }
}

interface Accepted {
  text: string
  by: string
  again?: string | null
}

/** What was accepted says more of it than the queue does, but may stand on an earlier page. */
function queuedPrompt(draft: Draft, clientId: string): Accepted | null {
  for (const { event } of draft.get('events')) {
    if (event.type === 'prompt_accepted' && event.client_id === clientId) return event
  }
  const queue = draft.get('session')?.queue ?? []
  return queue.find((prompt) => prompt.client_id === clientId) ?? null
}

function putPrompt(draft: Draft, clientId: string, prompt: Accepted & { at: string }): void {
  const id = userRowId(clientId)
  const row: UserRow = {
    kind: 'user',
    id,
    clientId,
    parent: null,
    delivery: 'sent',
    problem: null,
    blocked: null,
    notes: [],
    again: prompt.again ?? null,
    at: prompt.at,
    text: prompt.text,
    by: prompt.by,
  }
  draft.set(
    'outgoing',
    draft.get('outgoing').filter((other) => other !== id),
  )
  draft.replace(row)
  if (!draft.get('order').includes(id)) draft.append(row)
}
