/** How much of a long text is shown at first. What is hidden is counted, and one press away. */

/** Lines: what a phone shows of a change above the buttons that answer it. */
const AT_FIRST = 10
/** Fewer than these are not worth a press. */
const NOT_WORTH_HIDING = 4
/** At once, so that a press cannot freeze the page. */
export const MOST_LINES = 1_000
/** Characters: a longer line counts as several. */
const LONGEST_LINE = 500

export function linesAtFirst(total: number, folded: boolean): number {
  if (!folded) return Math.min(total, MOST_LINES)
  return total > AT_FIRST + NOT_WORTH_HIDING ? AT_FIRST : total
}

export const linesAfterPress = (total: number, shown: number): number =>
  Math.min(total, shown + MOST_LINES)

/** The text in parts that are its lines, or pieces of very long ones. Joined they are the text. */
export function linesOf(text: string): string[] {
  return text.split(/(?<=\n)/).flatMap((line) => piecesOf(line))
}

export function piecesOf(line: string, longest = LONGEST_LINE): string[] {
  if (line.length <= longest) return [line]
  const pieces: string[] = []
  for (let start = 0; start < line.length;) {
    const end = wholeCharacter(line, start + longest)
    pieces.push(line.slice(start, end))
    start = end
  }
  return pieces
}

/** Never between the halves of a surrogate pair: each alone would look like something hidden. */
const wholeCharacter = (line: string, end: number): number =>
  (line.codePointAt(end - 1) ?? 0) > 0xffff ? end + 1 : end
