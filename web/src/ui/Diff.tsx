/** What a change does to a file, line by line; signs as well as colours tell which is which. */
import { structuredPatch } from 'diff'
import { useMemo } from 'react'
import { useTranslation } from 'react-i18next'
import { Revealed } from './Revealed'
import './diff.css'

export interface DiffProps {
  before: string
  after: string
  label: string
}

interface Line {
  key: string
  sign: ' ' | '+' | '-' | '…'
  text: string
}

const CONTEXT = 3
/** A larger one is shown up to here; the rest is in the workspace. */
const MOST_LINES = 1_000
const PATIENCE_MS = 400

export function changeSize(before: string, after: string): { added: number; removed: number } {
  const lines = diffLines(before, after)
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
      .map((line, index) => ({
        key: `${hunk.oldStart}-${index}`,
        sign: line[0] as Line['sign'],
        text: line.slice(1),
      }))
    return [...gap, ...lines]
  })
}

/** Too different to compare in time: all of the old, then all of the new. */
function replacement(before: string, after: string): Line[] {
  const all = (text: string, sign: '+' | '-') =>
    text.split('\n').map((line, index) => ({ key: `${sign}${index}`, sign, text: line }))
  return [...all(before, '-'), ...all(after, '+')]
}

export function Diff({ before, after, label }: DiffProps) {
  const { t } = useTranslation()
  const lines = useMemo(() => diffLines(before, after), [before, after])
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it
    <div className="diff" role="group" aria-label={label} tabIndex={0}>
      {lines.slice(0, MOST_LINES).map((line) => (
        <div key={line.key} className="diff-line" data-sign={line.sign}>
          <span className="diff-sign" aria-hidden="true">
            {line.sign}
          </span>
          <code>
            <Revealed text={line.text} />
          </code>
        </div>
      ))}
      {lines.length > MOST_LINES ? (
        <p className="diff-more">{t('ui.moreLines', { count: lines.length - MOST_LINES })}</p>
      ) : null}
    </div>
  )
}
