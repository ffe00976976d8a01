/** What is being approved, whole: the command, the change to the file, or the input as it is. */
import { useTranslation } from 'react-i18next'
import type { PermissionRequested } from '@/protocol/chat.generated'
import { Diff } from '@/ui/Diff'
import { Revealed } from '@/ui/Revealed'

export function Exactly({ asked }: { asked: PermissionRequested }) {
  const { t } = useTranslation()
  const { input } = asked
  const path = input['file_path']
  if (typeof input['command'] === 'string') {
    const others = Object.entries(input).filter(
      ([key]) => key !== 'command' && key !== 'description',
    )
    return (
      <>
        <Preformatted text={input['command']} label={t('permissions.exactly')} />
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
  const change = changeOf(asked)
  if (change && typeof path === 'string') {
    return (
      <div className="dock-change">
        <p className="mono">
          <Revealed text={path} />
        </p>
        {change.map((edit, index) => (
          // oxlint-disable-next-line react/no-array-index-key -- an edit has no other name
          <Diff key={index} {...edit} label={t('permissions.exactly')} />
        ))}
      </div>
    )
  }
  return <Preformatted text={JSON.stringify(input, null, 2)} label={t('permissions.exactly')} />
}

function Preformatted({ text, label }: { text: string; label: string }) {
  return (
    // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it
    <pre className="dock-exactly" role="group" aria-label={label} tabIndex={0}>
      <Revealed text={text} />
    </pre>
  )
}

/** Only where the diff shows all there is: an input with more in it is shown as it is. */
const KNOWN: Record<string, ReadonlySet<string>> = {
  Write: new Set(['file_path', 'content']),
  Edit: new Set(['file_path', 'old_string', 'new_string', 'replace_all']),
}

function changeOf(asked: PermissionRequested): { before: string; after: string }[] | null {
  const known = KNOWN[asked.tool_name]
  if (!known || Object.keys(asked.input).some((key) => !known.has(key))) return null
  const field = (key: string) => {
    const value = asked.input[key]
    return typeof value === 'string' ? value : ''
  }
  if (asked.tool_name === 'Write') return [{ before: '', after: field('content') }]
  return [{ before: field('old_string'), after: field('new_string') }]
}
