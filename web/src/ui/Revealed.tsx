import { memo } from 'react'
import { useTranslation } from 'react-i18next'
import { labelOf, revealed, type Piece, type Reading } from './revealed'

/** Text in which nothing can hide. What is made visible is named to those who listen, too. */
export const Revealed = memo(function Revealed(props: { text: string; as?: Reading }) {
  const pieces = revealed(props.text, props.as)
  if (pieces.length === 1 && pieces[0]?.kind === 'text') return props.text
  return pieces.map((piece) => <Shown key={`${piece.kind}${piece.at}`} piece={piece} />)
})

function Shown({ piece }: { piece: Piece }) {
  const { t } = useTranslation()
  switch (piece.kind) {
    case 'text':
      return <span>{piece.text}</span>
    case 'rightToLeft':
      return <bdi>{piece.text}</bdi>
    case 'unseen':
      return <Mark text={labelOf(piece)} name={t(`ui.unseen.${piece.name}`)} />
    case 'blanks':
      return <Mark text={t('ui.blanks', { count: piece.count })} />
    case 'host':
      return <Mark text={piece.ascii || t('ui.noHost')} name={t('ui.realHost')} />
  }
}

function Mark({ text, name = '' }: { text: string; name?: string }) {
  return (
    <mark className="unseen" {...(name ? { title: name } : {})}>
      {name ? <span className="sr-only">{` ${name} `}</span> : null}
      {`⟨${text}⟩`}
    </mark>
  )
}
