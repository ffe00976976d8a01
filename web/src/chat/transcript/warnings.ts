/** Warnings and kept files: what happens again changes the row that is there, and adds none. */
import type {
  CheckpointFailed,
  CheckpointTaken,
  Event,
  LimitNear,
  McpServerFailed,
} from '@/protocol/chat.generated'
import type { Draft } from './draft'
import type { WarningRow } from './shape'

export function applyWarnings(draft: Draft, event: Event, seq: number, at: string): boolean {
  switch (event.type) {
    case 'limit_near':
      limitNear(draft, event, seq, at)
      return true
    case 'checkpoint_taken':
      checkpointTaken(draft, event, at)
      return true
    case 'checkpoint_failed':
      checkpointFailed(draft, event, seq, at)
      return true
    case 'mcp_server_failed':
      serverFailed(draft, event, at)
      return true
    default:
      return false
  }
}

function limitNear(draft: Draft, { limit, sentence }: LimitNear, seq: number, at: string): void {
  const row = warningsSincePrompt(draft, limit).at(0) ?? warning(`warning:${seq}`, at, 'limit')
  draft.put({ ...row, tag: limit, sentence })
}

/** The limit is reached: that it is near is said no longer. */
export function withdrawWarnings(draft: Draft, limit: string): void {
  for (const row of warningsSincePrompt(draft, limit)) draft.remove(row.id)
}

/** With the end of a turn where it follows one: there one looks for the way back to it. */
function checkpointTaken(draft: Draft, event: CheckpointTaken, at: string): void {
  const { checkpoint_id: checkpointId, checkpoint_id: id } = event
  draft.session({ checkpoint_id: id, checkpoint_at: at })
  const last = draft.row(draft.get('order').at(-1) ?? '')
  if (last?.kind === 'turn') return draft.replace({ ...last, checkpointId })
  if (last?.kind === 'checkpoint') draft.remove(last.id)
  draft.put({ kind: 'checkpoint', id: `checkpoint:${id}`, at, parent: null, checkpointId })
}

/** Until one is taken again, a failure for the same reason is the same failure. */
function checkpointFailed(draft: Draft, event: CheckpointFailed, seq: number, at: string): void {
  const { tag, sentence } = event
  const known = failureSinceCheckpoint(draft)
  if (known?.tag === tag) return draft.replace({ ...known, sentence, times: known.times + 1 })
  draft.put({ ...warning(`warning:${seq}`, at, 'checkpoint'), tag, sentence })
}

function serverFailed(draft: Draft, event: McpServerFailed, at: string): void {
  const { server, why, text = '' } = event
  const id = `server:${why}:${server}`
  const known = draft.row(id)
  if (known?.kind === 'warning') return draft.replace({ ...known, times: known.times + 1 })
  draft.put({ ...warning(id, at, 'server'), tag: why, server, sentence: text })
}

function failureSinceCheckpoint(draft: Draft): WarningRow | null {
  for (const id of draft.get('order').toReversed()) {
    const row = draft.row(id)
    if (row?.kind === 'checkpoint' || (row?.kind === 'turn' && row.checkpointId)) return null
    if (row?.kind === 'warning' && row.topic === 'checkpoint') return row
  }
  return null
}

function warningsSincePrompt(draft: Draft, limit: string): WarningRow[] {
  const found: WarningRow[] = []
  for (const id of draft.get('order').toReversed()) {
    const row = draft.row(id)
    if (row?.kind === 'user') break
    if (row?.kind === 'warning' && row.topic === 'limit' && row.tag === limit) found.push(row)
  }
  return found
}

const warning = (id: string, at: string, topic: WarningRow['topic']): WarningRow => ({
  kind: 'warning',
  id,
  at,
  parent: null,
  topic,
  tag: '',
  server: '',
  sentence: '',
  times: 1,
})
