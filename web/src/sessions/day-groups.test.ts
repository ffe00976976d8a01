import { expect, it } from 'vitest'
import { byDay } from './day-groups'

it('groups by the calendar day of the person, newest first', () => {
  const now = new Date(2026, 0, 5, 9, 0)
  const at = (day: number, hour: number) => ({
    updated_at: new Date(2026, 0, day, hour).toISOString(),
  })
  const items = [at(1, 8), at(5, 1), at(4, 23), at(5, 8), { updated_at: '2025-11-01T00:00:00Z' }]
  expect(byDay(items, now).map((group) => [group.day, group.items.length])).toEqual([
    ['today', 2],
    ['yesterday', 1],
    ['week', 1],
    ['earlier', 1],
  ])
  expect(byDay(items, now)[0]?.items[0]).toEqual(at(5, 8))
})
