/** Frames for tests, as a server would send them. */
import type { Event, SequencedEvent, ServerFrame, SessionView } from '@/protocol/chat.generated'

export const AT = '2026-01-05T10:00:00.000Z'

export const at = (seconds: number) => new Date(Date.parse(AT) + seconds * 1000).toISOString()

export function sequenced(seq: number, event: Event, seconds = seq): SequencedEvent {
  return { seq, at: at(seconds), event }
}

export function view(change: Partial<SessionView> = {}): SessionView {
  const times = { created_at: AT, updated_at: AT }
  return { id: 's1', title: 'A session', profile: 'default', state: 'idle', ...times, ...change }
}

export function snapshot(
  told: SequencedEvent[] = [],
  session: SessionView = view(),
  rest: { seq?: number; epoch?: string; earlier?: boolean } = {},
): ServerFrame {
  const seq = rest.seq ?? told.at(-1)?.seq ?? 0
  return { type: 'snapshot', epoch: 'e1', session, events: told, ...rest, seq }
}

export function events(list: SequencedEvent[], epoch = ''): ServerFrame {
  const seq = list.at(-1)?.seq ?? 0
  return epoch
    ? { type: 'events', seq, events: list, epoch }
    : { type: 'events', seq, events: list }
}

export const delta = (text: string, offset: number, index = 0): Event => ({
  type: 'block_delta',
  message_id: 'm1',
  index,
  kind: 'text',
  offset,
  text,
})

export const written = (text: string, index = 0): Event => ({
  type: 'text_written',
  message_id: 'm1',
  index,
  text,
})

export const accepted = (clientId: string, text: string, queued = false): Event => ({
  type: 'prompt_accepted',
  client_id: clientId,
  text,
  by: 'ada',
  ...(queued ? { queued } : {}),
})

export const started = (turnId: string, clientId: string): Event => ({
  type: 'turn_started',
  turn_id: turnId,
  client_id: clientId,
})

export const ended = (turnId: string): Event => ({
  type: 'turn_ended',
  turn_id: turnId,
  outcome: 'completed',
  duration_ms: 4_000,
})

export const permission = (id: string, command = 'make'): Event => ({
  type: 'permission_requested',
  permission_id: id,
  tool_name: 'Bash',
  input: { command },
  input_hash: `hash of ${command}`,
  tool_use_id: 'u1',
  suggestions: [{ kind: 'addRules', rules: [{ tool: 'Bash', content: 'make:*' }] }],
})
