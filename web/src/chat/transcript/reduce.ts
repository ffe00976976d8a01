/** The pure heart of the page: a transcript and what arrived give the next transcript. */
import type { Problem, SequencedEvent, ServerFrame, Snapshot } from '@/protocol/chat.generated'
import { applyEvent } from './apply'
import { Draft } from './draft'
import { EMPTY, userRowId, type Row, type Transcript } from './shape'

export interface Received {
  transcript: Transcript
  /** Something is missing between what was there and what came: ask for a snapshot. */
  gap: boolean
}

export function receive(before: Transcript, frames: readonly ServerFrame[]): Received {
  let transcript = before
  let gap = false
  for (const frame of frames) {
    if (frame.type === 'snapshot') {
      transcript = fromSnapshot(transcript, frame)
      gap = false
    } else {
      const draft = new Draft(transcript)
      gap = applyFrame(draft, frame) || gap
      transcript = draft.done()
    }
  }
  return { transcript, gap }
}

function applyFrame(draft: Draft, frame: Exclude<ServerFrame, Snapshot>): boolean {
  switch (frame.type) {
    case 'events':
      return applyEvents(draft, frame.events, frame.epoch ?? '')
    case 'session_changed':
      draft.set('session', frame.session)
      return false
    case 'command_refused':
      refuse(draft, frame.problem, frame.client_id ?? null, frame.command ?? '')
      return false
    default:
      return false
  }
}

/** A frame that names the epoch answers a `resume`: it says itself where it begins. */
function applyEvents(draft: Draft, events: readonly SequencedEvent[], epoch: string): boolean {
  const known = draft.get('epoch')
  let gap = epoch !== '' && known !== '' && epoch !== known
  let contiguous = epoch === ''
  if (epoch !== '') draft.set('epoch', epoch)
  for (const sequenced of events) {
    const seq = draft.get('seq')
    if (sequenced.seq <= seq) continue
    if (contiguous && sequenced.seq !== seq + 1) gap = true
    contiguous = true
    draft.set('seq', sequenced.seq)
    applyEvent(draft, sequenced)
  }
  return gap
}

function fromSnapshot(before: Transcript, snapshot: Snapshot): Transcript {
  const draft = new Draft({
    ...EMPTY,
    session: snapshot.session,
    outgoing: before.outgoing,
    rows: pick(before.rows, before.outgoing),
    refusal: before.refusal,
    agent: before.agent,
  })
  for (const sequenced of snapshot.events) applyEvent(draft, sequenced)
  draft.set('session', snapshot.session)
  draft.set('seq', snapshot.seq)
  draft.set('epoch', snapshot.epoch)
  draft.set('earlier', snapshot.earlier ?? false)
  draft.set('answered', null)
  draft.set('loaded', true)
  return draft.done()
}

/** Earlier events are put before those that are here, and everything is told again from there. */
export function withEarlier(
  now: Transcript,
  page: readonly SequencedEvent[],
  earlier: boolean,
): Transcript {
  const first = now.events[0]?.seq ?? Number.POSITIVE_INFINITY
  const events = [...page.filter(({ seq }) => seq < first), ...now.events]
  const open = Object.values(now.rows).filter((row) => 'open' in row && row.open)
  const base = { ...EMPTY, session: now.session, outgoing: now.outgoing }
  const draft = new Draft({ ...base, rows: pick(now.rows, now.outgoing) })
  for (const sequenced of events) applyEvent(draft, sequenced)
  for (const row of open) if (!draft.row(row.id)) draft.put(row)
  const { todos, agent, busy, refusal, seq, epoch, session, answered } = now
  return {
    ...draft.done(),
    todos,
    agent: agent ?? draft.get('agent'),
    busy,
    refusal,
    seq,
    epoch,
    session,
    answered,
    earlier,
    loaded: true,
  }
}

/** The prompt as it is shown before the server has it. */
export function withPrompt(
  now: Transcript,
  clientId: string,
  text: string,
  at: string,
): Transcript {
  const id = userRowId(clientId)
  const shared = {
    kind: 'user',
    id,
    clientId,
    parent: null,
    problem: null,
    blocked: null,
    notes: [],
    again: null,
  } as const
  const row: Row = { ...shared, text, at, by: '', delivery: 'sending' }
  const outgoing = now.outgoing.includes(id) ? now.outgoing : [...now.outgoing, id]
  return { ...now, outgoing, rows: { ...now.rows, [id]: row } }
}

export function withoutPrompt(now: Transcript, clientId: string): Transcript {
  const draft = new Draft(now)
  draft.remove(userRowId(clientId))
  return draft.done()
}

function refuse(draft: Draft, problem: Problem, clientId: string | null, command: string): void {
  const row = clientId ? draft.row(userRowId(clientId)) : undefined
  if (row?.kind === 'user' && row.delivery !== 'sent') {
    draft.replace({ ...row, delivery: 'refused', problem })
    return
  }
  draft.set('refusal', { number: (draft.get('refusal')?.number ?? 0) + 1, problem, command })
}

function pick(rows: Readonly<Record<string, Row>>, ids: readonly string[]): Record<string, Row> {
  return Object.fromEntries(Object.entries(rows).filter(([id]) => ids.includes(id)))
}
