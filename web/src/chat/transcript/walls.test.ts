import { describe, expect, it } from 'vitest'
import type { EgressRefused, SequencedEvent } from '@/protocol/chat.generated'
import { accepted, sequenced, snapshot, started } from '@/testing/wire'
import { receive } from './reduce'
import { EMPTY, type Row } from './shape'

const told = (...events: SequencedEvent['event'][]) =>
  receive(EMPTY, [snapshot(events.map((event, index) => sequenced(index + 1, event)))]).transcript

const prompt = [accepted('c1', 'Do it.'), started('t1', 'c1')]
const refused = (host: string, count?: number): EgressRefused => ({
  type: 'egress_refused',
  host,
  port: 443,
  tag: 'host_not_allowed',
  sentence: 'Not allowed.',
  ...(count ? { count } : {}),
})
const egress = (rows: readonly (Row | undefined)[]) =>
  rows.flatMap((row) => (row?.kind === 'egress' ? [row] : []))

describe('what a guardrail says', () => {
  it('stands with the prompt', () => {
    const blocked = {
      type: 'prompt_blocked',
      turn_id: 't1',
      reason: 'A secret.',
      policy: 'p',
    } as const
    const noted = {
      type: 'prompt_annotated',
      turn_id: 't1',
      note: 'Be careful.',
      policy: 'q',
    } as const
    const { rows } = told(...prompt, noted, blocked)
    expect(rows['user:c1']).toMatchObject({
      text: 'Do it.',
      blocked: { text: 'A secret.', policy: 'p' },
      notes: [{ text: 'Be careful.', policy: 'q' }],
    })
  })

  it('stands by itself where the prompt is not here', () => {
    const blocked = { type: 'prompt_blocked', turn_id: 't9', reason: 'No.', policy: 'p' } as const
    expect(told(blocked).rows['note:1']).toMatchObject({ text: 'No.', origin: 'p' })
  })
})

describe('a tool that a rule refuses', () => {
  const tool = {
    type: 'tool_started',
    tool_use_id: 'u1',
    message_id: 'm',
    index: 0,
    name: 'Bash',
    input: {},
  } as const
  const forbidden = {
    type: 'tool_forbidden',
    tool_name: 'Bash',
    reason: 'No.',
    policy: 'profile',
    tool_use_id: 'u1',
  } as const

  it('says so on its card, even when the card is written anew', () => {
    const guard = { forbidden: { text: 'No.', policy: 'profile' } }
    expect(told(tool, forbidden).rows['m:0']).toMatchObject(guard)
    expect(told(tool, forbidden, tool).rows['m:0']).toMatchObject(guard)
  })

  it('says so by itself where there is no card', () => {
    expect(told(forbidden).rows['note:1']).toMatchObject({ text: 'Bash: No.', origin: 'profile' })
  })
})

describe('what the sandbox may not reach', () => {
  it('is one row for all tries since the last prompt, each host counted', () => {
    const { order, rows } = told(
      ...prompt,
      refused('a.example'),
      refused('b.example', 4),
      refused('a.example', 7),
      accepted('c2', 'Again.'),
      refused('a.example'),
    )
    const found = egress(order.map((id) => rows[id]))
    expect(
      found.map((row) => row.refusals.map(({ host, count = 1 }) => `${host} ${count}`)),
    ).toEqual([['a.example 8', 'b.example 4'], ['a.example 1']])
  })

  it('is bounded, and what is beyond it is counted', () => {
    const many = Array.from({ length: 60 }, (_, index) => refused(`h${index}.example`, 2))
    const [row] = egress(Object.values(told(...many).rows))
    expect(row?.refusals).toHaveLength(40)
    expect(row?.more).toBe(40)
  })
})

it('a file that somebody put there is a line', () => {
  const { rows } = told({ type: 'file_uploaded', path: 'a/b.txt', size: 12, by: 'ada' })
  expect(rows['upload:1']).toMatchObject({ kind: 'upload', path: 'a/b.txt', size: 12, by: 'ada' })
})
