import { useTranslation } from 'react-i18next'
import { Diff } from '@/ui/Diff'
import { Highlighted } from '../markdown/CodeBlock'
import type { ToolRow } from '../transcript/shape'
import { Cut, Failed } from './bodies'
import { inputOf, records, resultText, shortPath, text, type Input } from './input'

export interface Edit {
  before: string
  after: string
}

/** Write, Edit, MultiEdit and NotebookEdit all come down to these. */
export function edits(input: Input): Edit[] {
  const several = records(input, 'edits')
  if (several.length > 0) return several.flatMap(edits)
  return [
    {
      before: text(input, 'old_string'),
      after: text(input, 'new_string') || text(input, 'content') || text(input, 'new_source'),
    },
  ]
}

export function EditBody({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const input = inputOf(row)
  const path = shortPath(text(input, 'file_path'))
  return (
    <>
      {edits(input).map((edit, index) => (
        <Diff
          // oxlint-disable-next-line react/no-array-index-key -- an edit has no other name
          key={index}
          before={edit.before}
          after={edit.after}
          label={t('chat.changes', { path })}
        />
      ))}
      <Failed row={row} />
    </>
  )
}

/** The CLI tells what stood there before, where a file was overwritten. */
export function WriteBody({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const input = inputOf(row)
  const detail = (row.result?.detail ?? {}) as Input
  return (
    <>
      <Diff
        before={text(detail, 'originalFile')}
        after={text(input, 'content')}
        label={t('chat.changes', { path: shortPath(text(input, 'file_path')) })}
      />
      <Failed row={row} />
    </>
  )
}

const NUMBERED = /^\s*(\d+)(?:→|\t)/gm

export function ReadBody({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  if (row.result?.is_error) return <Failed row={row} />
  const path = text(inputOf(row), 'file_path')
  const images = row.result?.content.filter((part) => part.kind === 'image') ?? []
  return (
    <>
      {images.map((image) => (
        <img
          key={image.data}
          className="tool-image"
          alt={t('chat.imageOf', { path: shortPath(path) })}
          src={`data:${image.media_type};base64,${image.data}`}
        />
      ))}
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it */}
      <pre className="tool-output" role="group" aria-label={shortPath(path)} tabIndex={0}>
        <Highlighted
          text={resultText(row).replace(NUMBERED, '')}
          language={/\.(\w+)$/.exec(path)?.[1] ?? ''}
        />
      </pre>
      <Cut row={row} />
    </>
  )
}
