/** How much of a long text is shown at first. What is hidden is counted, and one press away. */

/** Lines: what a phone shows of a change above the buttons that answer it. */
const AT_FIRST = 10
/** Fewer than these are not worth a press. */
const NOT_WORTH_HIDING = 4
/** At once, so that a press cannot freeze the page. */
export const MOST_LINES = 1_000

export function linesAtFirst(total: number, folded: boolean): number {
  if (!folded) return Math.min(total, MOST_LINES)
  return total > AT_FIRST + NOT_WORTH_HIDING ? AT_FIRST : total
}

export const linesAfterPress = (total: number, shown: number): number =>
  Math.min(total, shown + MOST_LINES)
