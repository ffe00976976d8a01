import { useTranslation } from 'react-i18next'
import { Revealed } from '@/ui/Revealed'
import type { ToolRow } from '../transcript/shape'
import { Ansi } from './Ansi'
import { Cut } from './bodies'
import { inputOf, resultText, text } from './input'

/** The CLI says a command's failure in the first line of its result. */
const EXIT = /^(?:Error: )?Exit code (\d+)\n?/

export function exitCode(row: ToolRow): string {
  const code = EXIT.exec(resultText(row))?.[1]
  return code ? `exit ${code}` : ''
}

export function BashBody({ row }: { row: ToolRow }) {
  const { t } = useTranslation()
  const input = inputOf(row)
  const output = resultText(row).replace(EXIT, '')
  return (
    <div className="terminal">
      {text(input, 'description') ? (
        <p className="muted">
          <Revealed text={text(input, 'description')} as="prose" />
        </p>
      ) : null}
      <pre className="terminal-command">
        <span className="terminal-prompt" aria-hidden="true">
          {'$ '}
        </span>
        <Revealed text={text(input, 'command') || text(input, 'bash_id')} as="exact" />
      </pre>
      {row.result ? (
        // oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it
        <pre className="terminal-output" role="group" aria-label={t('chat.output')} tabIndex={0}>
          {output.trim() ? (
            <Ansi text={output} />
          ) : (
            <span className="muted">{t('chat.silent')}</span>
          )}
        </pre>
      ) : null}
      <Cut row={row} />
    </div>
  )
}
