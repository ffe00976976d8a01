/**
 * Sandboxes come and go, the conversation stays: what happened to one is a single row, which tells
 * first why it went and then how the session went on.
 */
import type {
  Event,
  LimitReached,
  OutOfMemory,
  RecoveryStopped,
  SandboxAssigned,
  SandboxLost,
  SessionHibernated,
  WentBack,
} from '@/protocol/chat.generated'
import type { Draft } from './draft'
import type { Row, StayRow } from './shape'
import { withdrawWarnings } from './warnings'

/** Between two words on the same thing there may stand these. */
const BESIDE: ReadonlySet<Row['kind']> = new Set(['turn', 'checkpoint', 'warning'])

export function applyStays(draft: Draft, event: Event, seq: number, at: string): boolean {
  const begin = () => newStay(seq, at)
  switch (event.type) {
    case 'agent_died':
      agentDied(draft, event.text ?? '', begin)
      return true
    case 'sandbox_lost':
      sandboxLost(draft, event, begin)
      return true
    case 'out_of_memory':
      outOfMemory(draft, event, begin)
      return true
    case 'limit_reached':
      limitReached(draft, event, begin)
      return true
    case 'recovery_stopped':
      recoveryStopped(draft, event, begin)
      return true
    case 'session_hibernated':
      hibernated(draft, event, begin)
      return true
    case 'sandbox_assigned':
      assigned(draft, event, at, begin)
      return true
    case 'went_back':
      wentBack(draft, event, at, begin)
      return true
    default:
      return false
  }
}

type Begin = () => StayRow

/** The sandbox's loss, which follows, says it in words for people. */
function agentDied(draft: Draft, text: string, begin: Begin): void {
  const row = deathOf(openStay(draft)) ?? begin()
  if (row.cause === 'lost' && row.phase === 'gone' && row.reason !== '') return
  draft.put({ ...row, ...LOST, reason: 'agent_died', sentence: text, times: row.times })
}

function sandboxLost(draft: Draft, event: SandboxLost, begin: Begin): void {
  stopTasks(draft)
  const row = deathOf(openStay(draft)) ?? begin()
  const again = row.cause === 'lost' && row.reason !== '' && row.reason !== 'agent_died'
  const times = again ? row.times + 1 : row.times
  draft.put({ ...row, ...LOST, reason: event.tag, sentence: event.sentence, times })
}

/** What one sandbox died of belongs to its death; that it slept or went back does not. */
function deathOf(row: StayRow | null): StayRow | null {
  if (!row || row.cause === 'lost' || row.cause === 'memory') return row
  return row.cause === 'limit' && row.phase === 'troubled' ? row : null
}

const LOST = { cause: 'lost', phase: 'gone', stopped: '', backAt: '' } as const

function outOfMemory(draft: Draft, { sentence }: OutOfMemory, begin: Begin): void {
  const row = openStay(draft)
  if (row?.cause === 'lost' && row.phase === 'gone') return
  if (row?.cause === 'memory') return draft.put({ ...row, times: row.times + 1 })
  draft.put({ ...begin(), cause: 'memory', phase: 'troubled', reason: 'memory', sentence })
}

function limitReached(draft: Draft, { limit, sentence }: LimitReached, begin: Begin): void {
  withdrawWarnings(draft, limit)
  const row = openStay(draft)
  const same = row?.cause === 'limit' && row.reason === limit ? row : begin()
  draft.put({ ...same, cause: 'limit', phase: 'troubled', reason: limit, sentence })
}

function recoveryStopped(draft: Draft, { sentence }: RecoveryStopped, begin: Begin): void {
  const row = deathOf(openStay(draft)) ?? begin()
  draft.put({ ...row, phase: 'stopped', stopped: sentence })
}

function hibernated(draft: Draft, event: SessionHibernated, begin: Begin): void {
  const { sentence } = event
  const reason = withdrewQuestions(draft) ? 'withdrew' : event.reason
  stopTasks(draft)
  const row = openStay(draft)
  if (row?.phase === 'stopped') return
  if (row?.phase === 'gone') return draft.put({ ...row, phase: 'resting' })
  const fresh = { ...begin(), cause: 'slept', phase: 'resting', reason, sentence } as const
  const slept = row?.cause === 'slept'
  const limited = row?.cause === 'limit' && row.phase === 'troubled'
  draft.put(row && (slept || limited) ? { ...fresh, id: row.id } : fresh)
}

/** What was asked in the background went with its sandbox: that has to be said, however it slept. */
function withdrewQuestions(draft: Draft): boolean {
  const before = draft.get('events').findLast(({ event }) => event.type !== 'session_hibernated')
  const type = before?.event.type
  return type === 'permission_withdrawn' || type === 'question_withdrawn'
}

/** A prompt may stand between: it is what woke the session. */
function assigned(draft: Draft, event: SandboxAssigned, at: string, begin: Begin): void {
  const { sandbox_id, reason = 'new', checkpoint_id = '' } = event
  draft.session({ sandbox_id })
  if (reason === 'new') return
  if (reason === 'went_back') return goneBack(draft, checkpoint_id, at, begin)
  const last = lastStay(draft)
  const limit = openStay(draft)
  const row = last && WAITING.has(last.phase) ? last : limit?.cause === 'limit' ? limit : null
  if (row) return draft.replace({ ...row, phase: 'back', backAt: at })
  if (reason === 'woken') return // what it slept for is told on an earlier page
  const cause = reason === 'recycled' ? 'exchanged' : 'lost'
  draft.put({ ...begin(), cause, phase: 'back', backAt: at })
}

const WAITING: ReadonlySet<StayRow['phase']> = new Set(['gone', 'resting', 'stopped'])

/** Nothing comes after the session's end. */
export function endStay(draft: Draft): void {
  const row = lastStay(draft)
  if (row?.phase === 'gone') draft.replace({ ...row, phase: 'stopped' })
}

function wentBack(draft: Draft, event: WentBack, at: string, begin: Begin): void {
  draft.set('todos', []) // the plan is of what came after
  goneBack(draft, event.checkpoint_id, at, begin)
}

/** Said once, whichever of its two events comes first. */
function goneBack(draft: Draft, checkpointId: string, at: string, begin: Begin): void {
  const open = openStay(draft)
  const row = open?.cause === 'went_back' ? open : begin()
  const checkpointAt = takenAt(draft, checkpointId) || row.checkpointAt
  draft.put({ ...row, cause: 'went_back', phase: 'back', backAt: at, checkpointAt })
}

function takenAt(draft: Draft, checkpointId: string): string {
  for (const { event, at } of draft.get('events').toReversed()) {
    if (event.type === 'checkpoint_taken' && event.checkpoint_id === checkpointId) return at
  }
  return ''
}

/** What ran in the sandbox ran there only. */
function stopTasks(draft: Draft): void {
  draft.set('busy', null)
  for (const task of Object.values(draft.get('tasks'))) {
    if (task.status === 'running' || task.status === 'pending') {
      draft.task({ ...task, status: 'stopped' })
    }
  }
}

/** The row that a further event about the same thing belongs to, if nothing was said since. */
function openStay(draft: Draft): StayRow | null {
  for (const id of draft.get('order').toReversed()) {
    const row = draft.row(id)
    if (row?.kind === 'stay') return row
    if (!row || !BESIDE.has(row.kind)) return null
  }
  return null
}

function lastStay(draft: Draft): StayRow | null {
  for (const id of draft.get('order').toReversed()) {
    const row = draft.row(id)
    if (row?.kind === 'stay') return row
  }
  return null
}

const newStay = (seq: number, at: string): StayRow => ({
  kind: 'stay',
  id: `stay:${seq}`,
  at,
  parent: null,
  cause: 'lost',
  phase: 'gone',
  reason: '',
  sentence: '',
  stopped: '',
  times: 1,
  backAt: '',
  checkpointAt: '',
})
