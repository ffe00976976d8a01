import { describe, expect, it } from 'vitest'
import type { Event, SequencedEvent, SessionView } from '@/protocol/chat.generated'
import { accepted, events, sequenced, snapshot, started, view, written } from '@/testing/wire'
import { receive, withEarlier } from './reduce'
import { EMPTY, type StayRow, type Transcript, type WarningRow } from './shape'

const told = (...list: Event[]): SequencedEvent[] =>
  list.map((event, index) => sequenced(index + 1, event))

const after = (...list: Event[]): Transcript =>
  receive(EMPTY, [snapshot(), events(told(...list))]).transcript

const of = <Kind extends string>(transcript: Transcript, kind: Kind) =>
  transcript.order.map((id) => transcript.rows[id]).filter((row) => row?.kind === kind)

const stays = (transcript: Transcript) => of(transcript, 'stay') as StayRow[]
const warnings = (transcript: Transcript) => of(transcript, 'warning') as WarningRow[]

const lost: Event = { type: 'sandbox_lost', tag: 'oom', sentence: 'It ran out of memory.' }
const oom: Event = { type: 'out_of_memory', sentence: 'A program ran out of memory.' }
const died: Event = { type: 'agent_died', exit_code: 137 }
const unfinished: Event = {
  type: 'prompt_unfinished',
  client_id: 'c1',
  text: 'hello',
  by: 'ada',
  sentence: 'It ran out of memory.',
}
const over: Event = {
  type: 'turn_ended',
  turn_id: 't1',
  outcome: 'failed',
  subtype: 'sandbox_lost',
}
const back = (reason: 'woken' | 'recovered' | 'recycled' | 'went_back', id = 'x2'): Event => ({
  type: 'sandbox_assigned',
  sandbox_id: id,
  reason,
})
const asleep = (reason: 'idle' | 'memory' | 'shutdown' = 'idle'): Event => ({
  type: 'session_hibernated',
  reason,
  sentence: 'Why it sleeps.',
})
const again = (clientId: string, of_: string): Event => ({
  ...(accepted(clientId, 'hello') as Extract<Event, { type: 'prompt_accepted' }>),
  again: of_,
})
const kept = (id: string): Event => ({
  type: 'checkpoint_taken',
  checkpoint_id: id,
  size: 10,
  entries: 1,
})

const turn = [accepted('c1', 'hello'), started('t1', 'c1')]
const death = [oom, over, died, lost, unfinished]

it('a sleep that withdrew a question from the background says so, however quiet it is', () => {
  const withdrawn: Event = { type: 'permission_withdrawn', permission_id: 'p' }
  expect(stays(after(withdrawn, asleep()))).toMatchObject([{ cause: 'slept', reason: 'withdrew' }])
  expect(stays(after(kept('k'), asleep()))).toMatchObject([{ cause: 'slept', reason: 'idle' }])
})

describe('a sandbox that is lost', () => {
  it('is one line, with what came of it', () => {
    const gone = after(...turn, ...death)
    expect(gone.order).toEqual(['user:c1', 'stay:3', 'turn:t1'])
    expect(stays(gone)).toMatchObject([{ cause: 'lost', phase: 'gone', reason: 'oom', times: 1 }])
    const restored = after(...turn, ...death, back('recovered'))
    expect(stays(restored)).toMatchObject([
      { cause: 'lost', phase: 'back', sentence: 'It ran out of memory.' },
    ])
    expect(restored.turns[0]?.lost).toBe(true)
  })

  it('in every third turn leaves a conversation: a line for each, and nothing beside it', () => {
    const list: Event[] = []
    for (let n = 1; n <= 9; n += 1) {
      const [clientId, turnId] = [`c${n}`, `t${n}`]
      list.push(accepted(clientId, `prompt ${n}`), started(turnId, clientId))
      const ends = { ...over, turn_id: turnId } as Event
      if (n % 3 > 0) {
        list.push({ ...written(`answer ${n}`), message_id: `m${n}` } as Event)
        list.push({ type: 'turn_ended', turn_id: turnId, outcome: 'completed' }, kept(`k${n}`))
        continue
      }
      list.push(oom, ends, died, lost, { ...unfinished, client_id: clientId } as Event)
      list.push(back('recovered'), { type: 'agent_resumed', agent_session_id: 'a' })
      list.push(again(`c${n}b`, clientId), started(`t${n}b`, `c${n}b`))
      list.push({ ...written(`answer ${n}`), message_id: `m${n}` } as Event)
      list.push({ type: 'turn_ended', turn_id: `t${n}b`, outcome: 'completed' })
    }
    const whole = after(...list)
    const kinds = whole.order.map((id) => whole.rows[id]?.kind)
    const fine = ['user', 'text', 'turn']
    const broken = ['user', 'stay', 'turn', 'user', 'text', 'turn']
    expect(kinds).toEqual([1, 2, 3].flatMap(() => [...fine, ...fine, ...broken]))
    expect(whole.session?.unfinished ?? null).toBeNull()
  })

  it('and lost again before anything was said is still one line', () => {
    const twice = after(...turn, ...death, back('recovered'), lost, back('recovered', 'x3'))
    expect(stays(twice)).toMatchObject([{ phase: 'back', times: 2 }])
    const stop: Event = { type: 'recovery_stopped', deaths: 3, sentence: 'Enough.' }
    const stopped = after(...turn, ...death, lost, lost, stop, asleep('memory'))
    expect(stays(stopped)).toMatchObject([{ phase: 'stopped', stopped: 'Enough.', times: 3 }])
  })

  it('keeps what was half written, and says that it is', () => {
    const cut = { ...(written('Half of') as object), cut: true } as Event
    const row = after(...turn, cut, over, lost).rows['m1:0']
    expect(row).toMatchObject({ kind: 'text', text: 'Half of', open: false, cut: true })
  })

  it('takes the work of subagents with it', () => {
    const task: Event = { type: 'task_started', task_id: 'k', description: 'Look' }
    expect(after(...turn, task, lost).tasks['k']?.status).toBe('stopped')
  })

  it('is not mixed up with what people did before it', () => {
    const wentBack: Event = { type: 'went_back', checkpoint_id: 'k1', by: 'ada' }
    expect(stays(after(wentBack, back('went_back'), lost)).map(({ cause }) => cause)).toEqual([
      'went_back',
      'lost',
    ])
  })

  it('whose session ends is restored no more', () => {
    const end: Event = { type: 'session_ended', tag: 'failed', sentence: 'The end.' }
    expect(stays(after(lost, end))).toMatchObject([{ phase: 'stopped' }])
  })
})

describe('an unfinished prompt', () => {
  const open = (transcript: Transcript) => transcript.session?.unfinished?.client_id ?? null

  it('is open until it is run again or let go, wherever that was decided', () => {
    const before = [...turn, ...death]
    expect(open(after(...before))).toBe('c1')
    expect(open(after(...before, again('c2', 'c1')))).toBeNull()
    const letGo: Event = { type: 'prompt_let_go', client_id: 'c1', by: 'ada' }
    expect(open(after(...before, letGo))).toBeNull()
    expect(open(after(...before, { ...letGo, client_id: 'other' }))).toBe('c1')
  })

  it('that is run again is marked as such, also where it waited first', () => {
    const queued = { ...again('c2', 'c1'), queued: true } as Event
    const now = after(...turn, ...death, queued, started('t2', 'c2'))
    expect(now.rows['user:c2']).toMatchObject({ again: 'c1', delivery: 'sent' })
  })
})

describe('sleep', () => {
  it('is one line, until it is woken and however often that is', () => {
    expect(stays(after(asleep()))).toMatchObject([{ cause: 'slept', phase: 'resting' }])
    const list = [asleep(), back('woken'), asleep(), back('woken')]
    const [row, ...more] = stays(after(...list))
    expect(more).toEqual([])
    expect(row).toMatchObject({ phase: 'back' })
    expect(Date.parse(row?.backAt ?? '') - Date.parse(row?.at ?? '')).toBe(1000)
  })

  it('is ended by the prompt that woke it', () => {
    const now = after(asleep(), accepted('c1', 'hello'), back('woken'))
    expect(stays(now)).toMatchObject([{ phase: 'back' }])
    expect(now.order).toHaveLength(2)
  })

  it('of a session that was just losing its sandbox does not promise a new one', () => {
    const now = after(lost, asleep('shutdown'))
    expect(stays(now)).toMatchObject([{ cause: 'lost', phase: 'resting' }])
  })

  it('of an earlier page is put where it belongs', () => {
    const late = told(asleep(), accepted('c1', 'hello'), back('woken'), ...turn)
    const now = receive(EMPTY, [snapshot(late.slice(2), view(), { earlier: true })]).transcript
    expect(stays(now)).toEqual([])
    expect(stays(withEarlier(now, late.slice(0, 2), false))).toMatchObject([{ phase: 'back' }])
  })
})

describe('limits', () => {
  const near = (limit: string): Event => ({ type: 'limit_near', limit, sentence: 'Nearly.' })
  const reached = (limit: string): Event => ({ type: 'limit_reached', limit, sentence: 'Reached.' })

  it('that are near are said once for each prompt, and not beside that they are reached', () => {
    expect(warnings(after(...turn, near('memory'), near('memory'), near('home')))).toHaveLength(2)
    const now = after(...turn, near('memory'), reached('memory'))
    expect(warnings(now)).toEqual([])
    expect(stays(now)).toMatchObject([{ cause: 'limit', phase: 'troubled', sentence: 'Reached.' }])
  })

  it('and the fresh sandbox are one line', () => {
    expect(stays(after(reached('memory'), back('recycled')))).toMatchObject([
      { cause: 'limit', phase: 'back' },
    ])
    expect(stays(after(back('recycled')))).toMatchObject([{ cause: 'exchanged', phase: 'back' }])
  })

  it('that cost a turn have nothing to do with a fresh sandbox hours later', () => {
    const now = after(reached('turn_time'), ...turn, back('recycled'))
    expect(stays(now).map(({ cause }) => cause)).toEqual(['limit', 'exchanged'])
  })
})

describe('checkpoints', () => {
  const failed: Event = { type: 'checkpoint_failed', tag: 'too_large', sentence: 'Too large.' }
  const done: Event = { type: 'turn_ended', turn_id: 't1', outcome: 'completed' }

  it('stand with the turn that they follow', () => {
    const now = after(...turn, done, kept('k1'))
    expect(now.rows['turn:t1']).toMatchObject({ checkpointId: 'k1' })
    expect(now.session).toMatchObject({ checkpoint_id: 'k1' })
    expect(of(now, 'checkpoint')).toEqual([])
  })

  it('elsewhere have a mark of their own, the latest one', () => {
    expect(after(asleep(), kept('k1'), kept('k2')).order).toEqual(['stay:1', 'checkpoint:k2'])
  })

  it('that fail say so once, until one is taken again', () => {
    const now = after(...turn, done, failed, ...turn, failed)
    expect(warnings(now)).toMatchObject([{ topic: 'checkpoint', times: 2 }])
    expect(warnings(after(failed, kept('k1'), failed))).toHaveLength(2)
  })

  it('one goes back to are named by their time, whichever event comes first', () => {
    const wentBack: Event = { type: 'went_back', checkpoint_id: 'k1', by: 'ada' }
    const assigned = { ...back('went_back'), checkpoint_id: 'k1' } as Event
    for (const list of [[wentBack, assigned], [assigned, wentBack], [wentBack]]) {
      const now = after(kept('k1'), ...turn, ...list)
      expect(stays(now)).toMatchObject([
        { cause: 'went_back', phase: 'back', checkpointAt: sequenced(1, oom).at },
      ])
    }
  })
})

it('a tool server that fails again and again is one line', () => {
  const failed: Event = { type: 'mcp_server_failed', server: 'docs', why: 'died' }
  const now = after(failed, ...turn, failed, { ...failed, why: 'too_slow' })
  expect(warnings(now).map(({ tag, times }) => [tag, times])).toEqual([
    ['died', 2],
    ['too_slow', 1],
  ])
})

it('what is measured reaches the view, and not the log', () => {
  const now = after({
    type: 'storage_measured',
    home_used: 1,
    home_size: 2,
    workspace_used: 3,
    workspace_size: 4,
  })
  const expected: Partial<SessionView> = { home_bytes: 1, workspace_limit: 4 }
  expect(now.session).toMatchObject(expected)
  expect(now.events).toEqual([])
})

it('the same comes of it live, in a snapshot, and cut in two', () => {
  const list = told(...turn, ...death, back('recovered'), asleep(), back('woken'), kept('k1'))
  const live = receive(EMPTY, [snapshot(), ...list.map((one) => events([one]))]).transcript
  const whole = receive(EMPTY, [snapshot(list)]).transcript
  const cut = receive(EMPTY, [snapshot(list.slice(0, 5)), events(list.slice(3), 'e1')]).transcript
  for (const other of [whole, cut]) {
    expect(other.order).toEqual(live.order)
    expect(other.rows).toEqual(live.rows)
  }
})
