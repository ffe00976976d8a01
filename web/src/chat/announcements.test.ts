import { beforeEach, describe, expect, it } from 'vitest'
import type { TFunction } from 'i18next'
import { createI18n } from '@/i18n/i18n'
import { accepted, ended, events, permission, sequenced, snapshot, started } from '@/testing/wire'
import type { Event, ServerFrame } from '@/protocol/chat.generated'
import { announcements, firstSentence } from './announcements'
import type { OpenSession } from './session-store'
import { receive } from './transcript/reduce'
import { EMPTY } from './transcript/shape'

let t: TFunction
beforeEach(async () => {
  t = (await createI18n('en')).t
})

const REST = {
  id: 's1',
  status: 'online',
  deciding: {},
  turnedAway: null,
  returned: null,
  mine: [],
  loadingEarlier: false,
} as const
const open = (before: OpenSession, ...frames: ServerFrame[]): OpenSession => ({
  ...before,
  ...receive(before, frames).transcript,
})
const ready = () =>
  open(
    { ...EMPTY, ...REST },
    snapshot([sequenced(1, accepted('c1', 'x')), sequenced(2, started('t1', 'c1'))]),
  )

const said = (before: OpenSession, event: Event) => {
  const now = open(before, events([sequenced(before.seq + 1, event)]))
  return announcements(before, now, t).map(({ text, urgency }) => `${urgency}: ${text}`)
}

describe('what is said aloud', () => {
  it('is a permission, at once', () => {
    expect(said(ready(), permission('p1'))).toEqual([
      'assertive: Permission needed: Bash. Alt P leads there.',
    ])
  })

  it('is the end of a turn, with its first sentence', () => {
    const end: Event = {
      ...(ended('t1') as Extract<Event, { type: 'turn_ended' }>),
      text: 'All **green**. More.',
    }
    expect(said(ready(), end)).toEqual(['polite: Claude is done. All green.'])
  })

  it('is not a word of what streams in', () => {
    const piece: Event = {
      type: 'block_delta',
      message_id: 'm',
      index: 0,
      kind: 'text',
      offset: 0,
      text: 'Hello',
    }
    expect(said(ready(), piece)).toEqual([])
  })

  it('is that and why a prompt did not reach Claude, and not that the turn failed as well', () => {
    const reason = 'It holds a key.'
    const blocked: Event = { type: 'prompt_blocked', turn_id: 't1', reason, policy: 'profile' }
    const failed: Event = { type: 'turn_ended', turn_id: 't1', outcome: 'failed', text: reason }
    const before = ready()
    expect(said(before, blocked)).toEqual([
      'assertive: Your prompt was not sent to Claude. It holds a key.',
    ])
    const now = open(before, events([sequenced(before.seq + 1, blocked)]))
    expect(said(now, failed)).toEqual([])
  })

  it('is that a sandbox was lost, what is left of the prompt, and that it goes on', () => {
    const lost: Event = { type: 'sandbox_lost', tag: 'oom', sentence: 'It ran out of memory.' }
    const before = ready()
    expect(said(before, lost)).toEqual(['polite: It ran out of memory. Restoring it in a new one…'])
    const unfinished: Event = {
      type: 'prompt_unfinished',
      client_id: 'c1',
      text: 'hello',
      by: 'ada',
      sentence: 'It ran out of memory.',
    }
    expect(said(before, unfinished)).toEqual([
      'assertive: Your last message was not finished. It can be run again.',
    ])
    const gone = open(before, events([sequenced(before.seq + 1, lost)]))
    const back: Event = { type: 'sandbox_assigned', sandbox_id: 'x', reason: 'recovered' }
    expect(said(gone, back)).toEqual(['polite: Awake again.'])
    const end: Event = {
      ...(ended('t1') as object),
      outcome: 'failed',
      subtype: 'sandbox_lost',
    } as Event
    expect(said(before, end)).toEqual([])
  })

  it('is not what was already there when the page opened', () => {
    const closed: OpenSession = { ...EMPTY, ...REST }
    expect(announcements(closed, ready(), t)).toEqual([])
  })
})

it('a first sentence is short', () => {
  expect(firstSentence('word '.repeat(100)).length).toBeLessThanOrEqual(120)
})
