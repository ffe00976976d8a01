/** What is being approved, whole: the command, the change to the file, or the input as it is. */
import { useMemo, useRef, useState } from 'react'
import { useTranslation } from 'react-i18next'
import type { PermissionRequested } from '@/protocol/chat.generated'
import { changeSize, Diff } from '@/ui/Diff'
import { linesAfterPress, linesAtFirst } from '@/ui/folding'
import { MoreLines } from '@/ui/MoreLines'
import { Revealed } from '@/ui/Revealed'

export function Exactly({ asked }: { asked: PermissionRequested }) {
  const { t } = useTranslation()
  const { input } = asked
  const path = input['file_path']
  const change = useMemo(() => changeOf(asked), [asked])
  if (typeof input['command'] === 'string') {
    return <Command command={input['command']} input={input} />
  }
  if (change && typeof path === 'string') return <FileChange path={path} change={change} />
  return <Preformatted text={JSON.stringify(input, null, 2)} label={t('permissions.exactly')} />
}

function Command({ command, input }: { command: string; input: Record<string, unknown> }) {
  const { t } = useTranslation()
  const others = Object.entries(input).filter(([key]) => key !== 'command' && key !== 'description')
  return (
    <>
      <Preformatted text={command} label={t('permissions.exactly')} />
      {others.length > 0 ? (
        <p className="dock-others">
          {others.map(([key, value]) => (
            <code key={key}>
              {key}: <Revealed text={JSON.stringify(value)} />
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

function FileChange({ path, change }: { path: string; change: Change }) {
  const { t } = useTranslation()
  const { added, removed } = useMemo(() => changeSize(change.before, change.after), [change])
  return (
    <div className="dock-change">
      <p className="dock-file mono">
        <span>
          <Revealed text={path} />
        </span>
        <span className="dock-size">{t('permissions.size', { added, removed })}</span>
      </p>
      <Diff {...change} folded label={t('permissions.exactly')} />
    </div>
  )
}

function Preformatted({ text, label }: { text: string; label: string }) {
  const frame = useRef<HTMLPreElement>(null)
  const lines = useMemo(() => text.split('\n'), [text])
  const [wanted, setWanted] = useState<number | null>(null)
  const shown = wanted ?? linesAtFirst(lines.length, true)
  const showMore = () => {
    setWanted(linesAfterPress(lines.length, shown))
    frame.current?.focus({ preventScroll: true }) // the button may be gone
  }
  return (
    <div className="dock-exactly">
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- where the focus goes from the button */}
      <pre ref={frame} role="group" aria-label={label} tabIndex={0}>
        <Revealed text={lines.slice(0, shown).join('\n')} />
      </pre>
      <MoreLines count={lines.length - shown} onShow={showMore} />
    </div>
  )
}

/** Only where the diff shows all there is: an input with more in it is shown as it is. */
const KNOWN: Record<string, ReadonlySet<string>> = {
  Write: new Set(['file_path', 'content']),
  Edit: new Set(['file_path', 'old_string', 'new_string', 'replace_all']),
}

function changeOf(asked: PermissionRequested): Change | null {
  const known = KNOWN[asked.tool_name]
  if (!known || Object.keys(asked.input).some((key) => !known.has(key))) return null
  const field = (key: string) => {
    const value = asked.input[key]
    return typeof value === 'string' ? value : ''
  }
  if (asked.tool_name === 'Write') return { before: '', after: field('content') }
  return { before: field('old_string'), after: field('new_string') }
}
