/** What a change does to a file, line by line; signs as well as colours tell which is which. */
import { structuredPatch } from 'diff'
import { useEffect, useMemo, useRef, useState } from 'react'
import { linesAfterPress, linesAtFirst, piecesOf } from './folding'
import { MoreLines } from './MoreLines'
import { Revealed } from './Revealed'
import './diff.css'

export interface DiffProps {
  before: string
  after: string
  label: string
  /** Shows the beginning, and how many lines follow. */
  folded?: boolean
  /** Told how many lines are not shown, whenever that changes. */
  onHidden?: (count: number) => void
}

interface Line {
  key: string
  sign: ' ' | '+' | '-' | '…'
  text: string
  /** The rest of a line that is too long to be drawn as one. */
  continued?: boolean
}

const CONTEXT = 3
const PATIENCE_MS = 400

export function changeSize(before: string, after: string): { added: number; removed: number } {
  const lines = diffLines(before, after).filter((line) => !line.continued)
  return {
    added: lines.filter((line) => line.sign === '+').length,
    removed: lines.filter((line) => line.sign === '-').length,
  }
}

export function diffLines(before: string, after: string): Line[] {
  const patch = structuredPatch('', '', before, after, '', '', {
    context: CONTEXT,
    timeout: PATIENCE_MS,
  })
  if (!patch) return replacement(before, after)
  return patch.hunks.flatMap((hunk, position) => {
    const gap: Line[] = position > 0 ? [{ key: `gap-${hunk.oldStart}`, sign: '…', text: '' }] : []
    const lines = hunk.lines
      .filter((line) => !line.startsWith('\\'))
      .flatMap((line, index) =>
        drawn(`${hunk.oldStart}-${index}`, line[0] as Line['sign'], line.slice(1)),
      )
    return [...gap, ...lines]
  })
}

const drawn = (key: string, sign: Line['sign'], text: string): Line[] =>
  piecesOf(text).map((piece, part) =>
    part === 0
      ? { key, sign, text: piece }
      : { key: `${key}+${part}`, sign, text: piece, continued: true },
  )

/** Too different to compare in time: all of the old, then all of the new. */
function replacement(before: string, after: string): Line[] {
  const all = (text: string, sign: '+' | '-') =>
    text.split('\n').flatMap((line, index) => drawn(`${sign}${index}`, sign, line))
  return [...all(before, '-'), ...all(after, '+')]
}

export function Diff({ before, after, label, folded = false, onHidden }: DiffProps) {
  const frame = useRef<HTMLDivElement>(null)
  const lines = useMemo(() => diffLines(before, after), [before, after])
  const [wanted, setWanted] = useState<number | null>(null)
  const shown = wanted ?? linesAtFirst(lines.length, folded)
  const hidden = lines.length - shown
  useEffect(() => onHidden?.(hidden), [onHidden, hidden])
  const showMore = () => {
    setWanted(linesAfterPress(lines.length, shown))
    frame.current?.focus({ preventScroll: true }) // the button may be gone
  }
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it
    <div ref={frame} className="diff" role="group" aria-label={label} tabIndex={0}>
      {lines.slice(0, shown).map((line) => (
        <div key={line.key} className="diff-line" data-sign={line.sign}>
          <span className="diff-sign" aria-hidden="true">
            {line.continued ? '' : line.sign}
          </span>
          <code>
            <Revealed text={line.text} as="exact" />
          </code>
        </div>
      ))}
      <MoreLines count={hidden} onShow={showMore} />
    </div>
  )
}
