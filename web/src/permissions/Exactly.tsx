/** What is being approved, whole: the command, the change to the file, or the input as it is. */
import { useEffect, useMemo, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { PermissionRequested } from '@/protocol/chat.generated'
import { changeSize, Diff } from '@/ui/Diff'
import { linesAfterPress, linesAtFirst, linesOf } from '@/ui/folding'
import { MoreLines } from '@/ui/MoreLines'
import { own } from '@/ui/own'
import { Revealed } from '@/ui/Revealed'

export interface ExactlyProps {
  asked: PermissionRequested
  /** Told how many lines are not shown, whenever that changes. */
  onHidden: (count: number) => void
}

export function Exactly({ asked, onHidden }: ExactlyProps) {
  const { input } = asked
  const path = input['file_path']
  const change = useMemo(() => changeOf(asked), [asked])
  if (typeof input['command'] === 'string') {
    return <Command command={input['command']} asked={asked} onHidden={onHidden} />
  }
  if (change && typeof path === 'string') {
    return <FileChange path={path} change={change} onHidden={onHidden} />
  }
  return <Preformatted text={JSON.stringify(input, null, 2)} onHidden={onHidden} />
}

/** The description is not run, and stands above the command; unless it is another one. */
const saidAbove = (asked: PermissionRequested, key: string, value: unknown) =>
  key === 'command' || (key === 'description' && value === asked.description)

function Command({ command, asked, onHidden }: ExactlyProps & { command: string }) {
  const others = Object.entries(asked.input).filter(([key, value]) => !saidAbove(asked, key, value))
  return (
    <>
      <Preformatted text={command} onHidden={onHidden} />
      {others.length > 0 ? (
        <p className="dock-others">
          {others.map(([key, value]) => (
            <code key={key}>
              <Revealed text={key} as="line" />:{' '}
              <Revealed text={JSON.stringify(value)} as="exact" />
            </code>
          ))}
        </p>
      ) : null}
    </>
  )
}

interface Change {
  before: string
  after: string
}

interface FileChangeProps {
  path: string
  change: Change
  onHidden: (count: number) => void
}

function FileChange({ path, change, onHidden }: FileChangeProps) {
  const { t } = useTranslation()
  const { added, removed } = useMemo(() => changeSize(change.before, change.after), [change])
  return (
    <div className="dock-change">
      <p className="dock-file mono">
        <span>
          <Revealed text={path} as="line" />
        </span>
        <span className="dock-size">{t('permissions.size', { added, removed })}</span>
      </p>
      <Diff {...change} folded label={t('permissions.exactly')} onHidden={onHidden} />
    </div>
  )
}

function Preformatted({ text, onHidden }: { text: string; onHidden: (count: number) => void }) {
  const { t } = useTranslation()
  const frame = useRef<HTMLPreElement>(null)
  const lines = useMemo(() => linesOf(text), [text])
  const [wanted, setWanted] = useState<number | null>(null)
  const shown = wanted ?? linesAtFirst(lines.length, true)
  const hidden = lines.length - shown
  useEffect(() => onHidden(hidden), [onHidden, hidden])
  const showMore = () => {
    setWanted(linesAfterPress(lines.length, shown))
    frame.current?.focus({ preventScroll: true }) // the button may be gone
  }
  return (
    <div className="dock-exactly">
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- where the focus goes from the button */}
      <pre ref={frame} role="group" aria-label={t('permissions.exactly')} tabIndex={0}>
        <Revealed text={lines.slice(0, shown).join('')} as="exact" />
      </pre>
      <MoreLines count={hidden} onShow={showMore} />
    </div>
  )
}

/** Only where the diff shows all there is: an input with more in it is shown as it is. */
const KNOWN: Record<string, ReadonlySet<string>> = {
  Write: new Set(['file_path', 'content']),
  Edit: new Set(['file_path', 'old_string', 'new_string', 'replace_all']),
}

function changeOf(asked: PermissionRequested): Change | null {
  const known = own(KNOWN, asked.tool_name)
  const plain = ([key, value]: [string, unknown]) =>
    known?.has(key) && (key === 'replace_all' ? value === false : typeof value === 'string')
  if (!known || !Object.entries(asked.input).every(plain)) return null
  const field = (key: string) => {
    const value = asked.input[key]
    return typeof value === 'string' ? value : ''
  }
  if (asked.tool_name === 'Write') return { before: '', after: field('content') }
  return { before: field('old_string'), after: field('new_string') }
}
