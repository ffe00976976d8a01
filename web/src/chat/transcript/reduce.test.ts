import { describe, expect, it } from 'vitest'
import {
  accepted,
  delta,
  ended,
  events,
  permission,
  sequenced,
  snapshot,
  started,
  view,
  written,
} from '@/testing/wire'
import type { SequencedEvent, ServerFrame } from '@/protocol/chat.generated'
import { saysMore } from './failures'
import { receive, withEarlier, withoutPrompt, withPrompt } from './reduce'
import { EMPTY, type Transcript } from './shape'

const after = (...frames: ServerFrame[]): Transcript => receive(EMPTY, frames).transcript

const textOf = (transcript: Transcript, id = 'm1:0') => {
  const row = transcript.rows[id]
  return row && 'text' in row ? row.text : null
}

const turn: SequencedEvent[] = [
  sequenced(1, accepted('c1', 'hello')),
  sequenced(2, started('t1', 'c1')),
  sequenced(3, written('Hello **you**')),
  sequenced(4, ended('t1')),
]

describe('replay', () => {
  it('shows the same, whether it came live, in a snapshot, or cut in two by a reconnect', () => {
    const live = after(snapshot([], view()), ...turn.map((event) => events([event])))
    const whole = after(snapshot(turn))
    const cut = after(snapshot(turn.slice(0, 2)), events(turn.slice(1), 'e1'))
    for (const other of [whole, cut]) {
      expect(other.order).toEqual(live.order)
      expect(other.rows).toEqual(live.rows)
      expect(other.turns).toEqual(live.turns)
    }
    expect(live.order).toEqual(['user:c1', 'm1:0', 'turn:t1'])
  })

  it('drops what it has already seen', () => {
    const once = after(snapshot(turn))
    expect(receive(once, [events(turn, 'e1')]).transcript.order).toEqual(once.order)
  })

  it('says when something is missing', () => {
    const state = after(snapshot(turn))
    expect(receive(state, [events([sequenced(7, written('x', 5))])]).gap).toBe(true)
    expect(receive(state, [events([sequenced(5, written('x', 5))])]).gap).toBe(false)
  })

  it('believes the answer to a resume about where it begins', () => {
    const state = after(snapshot(turn))
    expect(receive(state, [events([sequenced(7, written('x', 5))], 'e1')]).gap).toBe(false)
    expect(receive(state, [events([], 'e2')]).gap).toBe(true)
  })

  it('keeps the identity of rows that did not change', () => {
    const state = after(snapshot(turn))
    const next = receive(state, [events([sequenced(5, delta('more', 0, 9))])]).transcript
    expect(next.rows['m1:0']).toBe(state.rows['m1:0'])
    expect(next.turns).toBe(state.turns)
    expect(next.events).toBe(state.events)
  })
})

describe('deltas', () => {
  it('are idempotent by offset, counted in code points', () => {
    const state = after(
      snapshot(),
      events([
        sequenced(1, delta('a👩b', 0)),
        sequenced(2, delta('👩bc', 1)),
        sequenced(3, delta('d', 4)),
      ]),
    )
    expect(textOf(state)).toBe('a👩bcd')
  })

  it('that begin behind a hole are left out: the finished block will hold all of it', () => {
    const state = after(
      snapshot(),
      events([sequenced(1, delta('ab', 0)), sequenced(2, delta('z', 9))]),
    )
    expect(textOf(state)).toBe('ab')
  })

  it('are replaced by the durable block, and change nothing after it', () => {
    const state = after(
      snapshot(),
      events([
        sequenced(1, delta('Hel', 0)),
        sequenced(2, written('Hello')),
        sequenced(3, delta('lo', 3)),
      ]),
    )
    expect(textOf(state)).toBe('Hello')
    expect(state.order).toEqual(['m1:0'])
  })

  it('of a tool become its input', () => {
    const piece = { message_id: 'm1', index: 0, kind: 'tool_input', offset: 0 } as const
    const state = after(
      snapshot(),
      events([
        sequenced(1, {
          type: 'block_delta',
          ...piece,
          text: '{"com',
          tool_use_id: 'u1',
          tool_name: 'Bash',
        }),
        sequenced(2, {
          type: 'tool_started',
          tool_use_id: 'u1',
          message_id: 'm1',
          index: 0,
          name: 'Bash',
          input: { command: 'ls' },
        }),
        sequenced(5, {
          type: 'tool_finished',
          tool_use_id: 'u1',
          content: [{ kind: 'text', text: 'a' }],
        }),
      ]),
    )
    expect(state.rows['m1:0']).toMatchObject({
      name: 'Bash',
      input: { command: 'ls' },
      tookMs: 3000,
      open: false,
    })
  })

  it('left open by a turn that was cut do not stay open', () => {
    const state = after(
      snapshot(),
      events([sequenced(1, delta('Hel', 0)), sequenced(2, ended('t1'))]),
    )
    expect(state.rows['m1:0']).toMatchObject({ open: false, text: 'Hel' })
  })
})

describe('prompts', () => {
  it('are shown before they are confirmed, and confirmed in place', () => {
    const state = withPrompt(after(snapshot()), 'c1', 'hello', '2026-01-05T10:00:00Z')
    expect(state.outgoing).toEqual(['user:c1'])
    const next = receive(state, [events([sequenced(1, accepted('c1', 'hello'))])]).transcript
    expect(next.outgoing).toEqual([])
    expect(next.order).toEqual(['user:c1'])
    expect(next.rows['user:c1']).toMatchObject({ delivery: 'sent', by: 'ada' })
  })

  it('survive a snapshot that does not know them yet', () => {
    const state = withPrompt(after(snapshot()), 'c9', 'typed in a tunnel', '2026-01-05T10:00:00Z')
    const next = receive(state, [snapshot(turn)]).transcript
    expect(next.outgoing).toEqual(['user:c9'])
    expect(next.rows['user:c9']).toMatchObject({ delivery: 'sending' })
    expect(withoutPrompt(next, 'c9').outgoing).toEqual([])
  })

  it('that wait stand in the queue until their turn begins', () => {
    const queued = after(snapshot(turn), events([sequenced(5, accepted('c2', 'next', true))]))
    expect(queued.session?.queue).toHaveLength(1)
    expect(queued.order).not.toContain('user:c2')
    const running = receive(queued, [events([sequenced(6, started('t2', 'c2'))])]).transcript
    expect(running.session?.queue).toHaveLength(0)
    expect(running.order.at(-1)).toBe('user:c2')
  })

  it('that are refused say why and can be sent again', () => {
    const state = withPrompt(after(snapshot()), 'c1', 'hello', '2026-01-05T10:00:00Z')
    const problem = { tag: 'queue_full', title: 'Too many prompts are waiting.' }
    const next = receive(state, [
      { type: 'command_refused', seq: 0, problem, client_id: 'c1' },
    ]).transcript
    expect(next.rows['user:c1']).toMatchObject({ delivery: 'refused', problem })
  })
})

describe('what waits for a person', () => {
  it('appears once, and leaves when anybody answers', () => {
    const asked = after(snapshot(turn), events([sequenced(5, permission('p1'))]))
    expect(asked.session?.permissions).toHaveLength(1)
    const resolved = receive(asked, [
      events([
        sequenced(6, {
          type: 'permission_resolved',
          permission_id: 'p1',
          choice: 'allow',
          by: 'grace',
        }),
      ]),
    ]).transcript
    expect(resolved.session?.permissions).toHaveLength(0)
    expect(resolved.answered).toMatchObject({ by: 'grace' })
  })
})

describe('a question', () => {
  const asking: SequencedEvent[] = [
    sequenced(1, {
      type: 'tool_started',
      tool_use_id: 'u1',
      message_id: 'm1',
      index: 0,
      name: 'AskUserQuestion',
      input: { questions: [{ question: 'Which colour?' }] },
    }),
    sequenced(2, {
      type: 'question_asked',
      question_id: 'q1',
      questions: [{ question: 'Which colour?' }],
      tool_use_id: 'u1',
    }),
  ]
  const answered = sequenced(3, {
    type: 'question_answered',
    question_id: 'q1',
    answers: { 'Which colour?': 'Green' },
    by: 'grace',
  })

  it('stands with its tool once answered: by whom and what, live and told again', () => {
    const said = { answer: { by: 'grace', answers: { 'Which colour?': 'Green' } } }
    const open = after(snapshot(asking))
    expect(open.session?.questions).toBeUndefined()
    expect(open.rows['m1:0']).toMatchObject({ answer: null })
    expect(receive(open, [events([answered])]).transcript.rows['m1:0']).toMatchObject(said)
    expect(after(snapshot([...asking, answered])).rows['m1:0']).toMatchObject(said)
  })

  it('without a tool is answered all the same', () => {
    const state = after(snapshot(), events([{ ...answered, seq: 1 }]))
    expect(state.answered).toMatchObject({ by: 'grace' })
    expect(state.order).toEqual([])
  })
})

describe('a lost sandbox', () => {
  const lost = sequenced(1, { type: 'sandbox_lost', tag: 'killed', sentence: 'It was killed.' })
  const over = (sentence: string) =>
    sequenced(2, { type: 'session_ended', tag: 'sandbox_lost', sentence })

  it('says once why the session ended', () => {
    expect(after(snapshot([lost, over('It was killed.')])).order).toEqual(['stay:1'])
    expect(after(snapshot([lost, over('Start a new one.')])).order).toEqual(['stay:1', 'mark:2'])
    expect(after(snapshot([over('It was killed.')])).order).toEqual(['mark:2'])
  })
})

describe('failures', () => {
  it('have details only where a report says more than the sentence', () => {
    const quoted = "Failed. API Error: 401 The model API\nrefused Casemate's key. Ask your admin."
    expect(saysMore(quoted, 'The model API refused Casemate’s key.')).toBe(false)
    expect(saysMore('API Error: Repeated 529', 'The model is overloaded.')).toBe(true)
    expect(saysMore('', 'The model is overloaded.')).toBe(false)
  })

  it('of one cause are one row, with what each side said of it', () => {
    const upstream = {
      type: 'upstream_failed',
      tag: 'overloaded',
      sentence: 'Overloaded.',
      advice: 'Wait.',
    } as const
    const state = after(
      snapshot(),
      events([
        sequenced(1, upstream),
        sequenced(2, upstream),
        sequenced(3, { type: 'agent_failed', error: 'overloaded', text: 'API Error' }),
      ]),
    )
    expect(state.order).toHaveLength(1)
    expect(Object.values(state.rows)[0]).toMatchObject({ times: 2, details: ['API Error'] })
  })

  it('of a newer kind are shown as what they are', () => {
    const state = after(
      snapshot(),
      events([sequenced(1, { type: 'unrecognised', tag: 'brand_new', raw: {} })]),
    )
    expect(Object.values(state.rows)[0]).toMatchObject({
      kind: 'mark',
      mark: 'unknown',
      tag: 'brand_new',
    })
  })
})

describe('earlier pages', () => {
  it('are put before what is there, and find what belongs together', () => {
    const late = after(
      snapshot([sequenced(4, { type: 'tool_finished', tool_use_id: 'u1', content: [] })], view(), {
        earlier: true,
      }),
      events([sequenced(5, delta('open', 0, 7))]),
    )
    const page = [
      sequenced(1, accepted('c1', 'hello')),
      sequenced(3, {
        type: 'tool_started',
        tool_use_id: 'u1',
        message_id: 'm1',
        index: 0,
        name: 'Bash',
        input: {},
      }),
    ]
    const state = withEarlier(late, page, false)
    expect(state.order).toEqual(['user:c1', 'm1:0', 'm1:7'])
    expect(state.rows['m1:0']).toMatchObject({ result: { tool_use_id: 'u1' } })
    expect(state.rows['m1:7']).toMatchObject({ open: true, text: 'open' })
    expect(state).toMatchObject({ earlier: false, seq: 5 })
  })
})

describe('money', () => {
  it('is counted to the turn that runs', () => {
    const metered = { type: 'usage_metered', model: 'm', usage: {}, cost_usd: 0.25 } as const
    const state = after(
      snapshot([
        ...turn.slice(0, 3),
        sequenced(4, metered),
        sequenced(5, metered),
        sequenced(6, ended('t1')),
      ]),
    )
    expect(state.turns[0]).toMatchObject({ costUsd: 0.5, durationMs: 4000, outcome: 'completed' })
  })
})
