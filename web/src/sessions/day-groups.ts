/** Sessions by the day on which something last happened in them. */
export type Day = 'today' | 'yesterday' | 'week' | 'earlier'

export interface DayGroup<Item> {
  day: Day
  items: Item[]
}

const DAY_MS = 86_400_000

export function byDay<Item extends { updated_at: string }>(
  items: readonly Item[],
  now: Date,
): DayGroup<Item>[] {
  const groups = new Map<Day, Item[]>([
    ['today', []],
    ['yesterday', []],
    ['week', []],
    ['earlier', []],
  ])
  const sorted = items.toSorted((a, b) => b.updated_at.localeCompare(a.updated_at))
  for (const item of sorted) groups.get(dayOf(new Date(item.updated_at), now))?.push(item)
  return [...groups]
    .filter(([, found]) => found.length > 0)
    .map(([day, found]) => ({ day, items: found }))
}

function dayOf(date: Date, now: Date): Day {
  const days = Math.round((midnight(now) - midnight(date)) / DAY_MS)
  if (days <= 0) return 'today'
  if (days === 1) return 'yesterday'
  return days < 7 ? 'week' : 'earlier'
}

const midnight = (date: Date) =>
  new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime()
