/** Full jitter: many browsers that lost the same server do not come back in the same instant. */
const FIRST_MS = 400
const LONGEST_MS = 15_000

export function backoff(attempt: number, random: () => number = Math.random): number {
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10))
  return Math.round(ceiling * (0.25 + 0.75 * random()))
}
