/** What rules, guardrails and the walls of the sandbox said: each told where it belongs. */
import type {
  EgressRefused,
  PromptAnnotated,
  PromptBlocked,
  ToolForbidden,
} from '@/protocol/chat.generated'
import { toolRow } from './blocks'
import type { Draft } from './draft'
import { userRowId, type EgressRow, type UserRow } from './shape'

/** Hosts that one row lists. A loop in a sandbox shall not fill the page. */
const MOST_HOSTS = 40

export function forbidTool(draft: Draft, event: ToolForbidden, seq: number, at: string): void {
  const { reason: text, policy } = event
  const row = event.tool_use_id ? toolRow(draft, event.tool_use_id) : null
  if (row) return draft.replace({ ...row, forbidden: { text, policy } })
  note(draft, seq, at, `${event.tool_name}: ${text}`, policy)
}

export function blockPrompt(draft: Draft, event: PromptBlocked, seq: number, at: string): void {
  const { reason: text, policy } = event
  const row = promptOf(draft, event.turn_id)
  if (row) draft.replace({ ...row, blocked: { text, policy } })
  else note(draft, seq, at, text, policy)
}

export function annotatePrompt(
  draft: Draft,
  event: PromptAnnotated,
  seq: number,
  at: string,
): void {
  const { note: text, policy } = event
  const row = promptOf(draft, event.turn_id)
  if (row) draft.replace({ ...row, notes: [...row.notes, { text, policy }] })
  else note(draft, seq, at, text, policy)
}

export function refuseEgress(draft: Draft, event: EgressRefused, seq: number, at: string): void {
  const row = lastEgress(draft)
  if (row) draft.replace(withRefusal(row, event))
  else {
    draft.put({ kind: 'egress', id: `egress:${seq}`, at, parent: null, refusals: [event], more: 0 })
  }
}

function withRefusal(row: EgressRow, event: EgressRefused): EgressRow {
  const same = (other: EgressRefused) =>
    other.host === event.host && other.port === event.port && other.tag === event.tag
  if (row.refusals.some(same)) {
    const counted = (other: EgressRefused) => ({ ...other, count: times(other) + times(event) })
    const refusals = row.refusals.map((other) => (same(other) ? counted(other) : other))
    return { ...row, refusals }
  }
  if (row.refusals.length >= MOST_HOSTS) return { ...row, more: row.more + times(event) }
  return { ...row, refusals: [...row.refusals, event] }
}

export const times = ({ count = 1 }: EgressRefused): number => count

/** Since the last prompt: further refusals belong to what was told already. */
function lastEgress(draft: Draft): EgressRow | null {
  for (const id of draft.get('order').toReversed()) {
    const row = draft.row(id)
    if (row?.kind === 'egress') return row
    if (row?.kind === 'user') return null
  }
  return null
}

function promptOf(draft: Draft, turnId: string): UserRow | null {
  const turn = draft.get('turns').find((other) => other.id === turnId)
  const row = turn ? draft.row(userRowId(turn.clientId)) : undefined
  return row?.kind === 'user' ? row : null
}

function note(draft: Draft, seq: number, at: string, text: string, origin: string): void {
  draft.put({ kind: 'note', id: `note:${seq}`, at, parent: null, text, origin })
}
