import { Check, Copy, WrapText } from 'lucide-react'
import { memo, useState } from 'react'
import { useTranslation } from 'react-i18next'
import { IconButton } from '@/ui/Button'
import { Revealed } from '@/ui/Revealed'
import { useHighlighted } from './highlight'

export const CodeBlock = memo(function CodeBlock({
  text,
  language,
}: {
  text: string
  language: string
}) {
  const { t } = useTranslation()
  const [wrapped, setWrapped] = useState(false)
  return (
    <figure className="code" aria-label={t('chat.code', { language: language || t('chat.text') })}>
      <figcaption className="code-bar">
        <span>{language || t('chat.text')}</span>
        <IconButton
          label={t('chat.wrap')}
          aria-pressed={wrapped}
          onClick={() => setWrapped(!wrapped)}
        >
          <WrapText size={14} aria-hidden="true" />
        </IconButton>
        <CopyButton text={text} />
      </figcaption>
      {/* oxlint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- it scrolls, so keys must reach it */}
      <pre tabIndex={0} data-wrapped={wrapped || undefined}>
        <Highlighted text={text} language={language} />
      </pre>
    </figure>
  )
})

export function Highlighted({ text, language }: { text: string; language: string }) {
  const lines = useHighlighted(text, language)
  if (!lines) {
    return (
      <code>
        <Revealed text={text} />
      </code>
    )
  }
  return (
    <code>
      {lines.map((tokens, row) => (
        // oxlint-disable-next-line react/no-array-index-key -- a line is where it is
        <span key={row}>
          {tokens.map((token, column) => (
            // oxlint-disable-next-line react/no-array-index-key -- so is a token
            <span key={column} className={token.kind}>
              <Revealed text={token.text} />
            </span>
          ))}
          {row < lines.length - 1 ? '\n' : null}
        </span>
      ))}
    </code>
  )
}

const SHOWN_MS = 1_500

export function CopyButton({ text }: { text: string }) {
  const { t } = useTranslation()
  const [copied, setCopied] = useState(false)
  const copy = async () => {
    await navigator.clipboard.writeText(text)
    setCopied(true)
    setTimeout(() => setCopied(false), SHOWN_MS)
  }
  const Icon = copied ? Check : Copy
  return (
    <IconButton label={copied ? t('chat.copied') : t('chat.copy')} onClick={() => void copy()}>
      <Icon size={14} aria-hidden="true" />
    </IconButton>
  )
}
