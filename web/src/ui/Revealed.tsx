import { useTranslation } from 'react-i18next'
import { revealed } from './revealed'

/** Text in which nothing can hide. */
export function Revealed({ text }: { text: string }) {
  const { t } = useTranslation()
  return revealed(text).map((piece) =>
    piece.unseen ? (
      <mark key={piece.at} className="unseen" title={t('ui.unseen')}>
        {piece.text}
      </mark>
    ) : (
      <span key={piece.at}>{piece.text}</span>
    ),
  )
}
