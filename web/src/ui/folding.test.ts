import { expect, it } from 'vitest'
import { linesAfterPress, linesAtFirst, linesOf, MOST_LINES } from './folding'

it('hides the rest of what is long, but never just a line or two', () => {
  expect(linesAtFirst(3, true)).toBe(3)
  expect(linesAtFirst(14, true)).toBe(14)
  expect(linesAtFirst(19, true)).toBe(10)
})

it('shows everything in the end, a bounded part with each press', () => {
  expect(linesAfterPress(19, linesAtFirst(19, true))).toBe(19)
  let shown = linesAtFirst(2_500, false)
  expect(shown).toBe(MOST_LINES)
  for (let press = 0; press < 2; press += 1) shown = linesAfterPress(2_500, shown)
  expect(shown).toBe(2_500)
})

it('counts a very long line as several, and loses nothing of it', () => {
  const text = `short\n${'👩x'.repeat(1_000)}\n\nend`
  const lines = linesOf(text)
  expect(lines.join('')).toBe(text)
  expect(lines.length).toBeGreaterThan(6)
  expect(lines.every((line) => !/\p{Cs}/u.test(line))).toBe(true)
  expect(linesOf('')).toEqual([''])
})
