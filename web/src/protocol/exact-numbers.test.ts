import { describe, expect, it } from 'vitest'
import { ExactNumber, mayBeRounded, parseEvents, parseExactly } from './exact-numbers'

const asked = (input: string) =>
  `{"type":"permission_requested","permission_id":"p1","tool_name":"mcp__bank__pay","input":${input}}`
const frame = (event: string) =>
  `{"type":"events","seq":1,"events":[{"seq":1,"at":"","event":${event}}]}`
const inputIn = (text: string) =>
  parseEvents<{ events: { event: { input: unknown } }[] }>(text).events[0]?.event.input

describe('a number in an input', () => {
  it.each([
    '9007199254740993',
    '12345678901234567890123',
    '-9007199254740993.5',
    '0.1234567890123456789',
    '1.0',
    '-0',
    '1e400',
    '1E3',
  ])('%s is shown and sent as it was written', (number) => {
    const input = `{"amount":${number},"deep":[{"n":${number}}],"note":"${number}"}`
    const kept = inputIn(frame(asked(input)))
    expect(JSON.stringify(kept)).toBe(input)
    expect(JSON.stringify(parseExactly(input))).toBe(input)
  })

  it('stays a number where nothing is lost', () => {
    expect(inputIn(frame(asked('{"n":42,"x":0.5,"y":-7,"z":1.0}')))).toMatchObject({
      n: 42,
      x: 0.5,
    })
  })

  it('is kept in a snapshot’s view as well', () => {
    const text = `{"type":"snapshot","events":[],"session":{"permissions":[${asked('{"n":1.0}')}]}}`
    const view = parseEvents<{ session: { permissions: { input: { n: unknown } }[] } }>(text)
    expect(view.session.permissions[0]?.input.n).toBeInstanceOf(ExactNumber)
  })
})

it('outside of inputs a number is a number, however a sandbox writes it', () => {
  const event = '{"type":"usage_metered","cost_usd":1.0,"usage":{"input_tokens":90071992547409931}}'
  const page = parseEvents<{ events: { event: { cost_usd: unknown } }[] }>(frame(event))
  expect(page.events[0]?.event.cost_usd).toBe(1)
})

it('a browser that cannot tell is known to be unsure', () => {
  expect(mayBeRounded({ a: [{ b: 2 ** 60 }] })).toBe(true)
  expect(mayBeRounded({ a: [1, 'x', null, 0.1] })).toBe(false)
})
