/** A terminal's colours as spans; everything else that a terminal would obey is taken out. */
import Anser from 'anser'
import { useMemo } from 'react'
import { Revealed } from '@/ui/Revealed'

// escape sequences are control characters
const LINKS = /\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g
// moves of the cursor, clearing of the screen
const MOVES = /\u001b\[[0-9;?]*[A-HJKSTfhln]/g
// what is left and no tab, newline or escape
const CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001a\u001c-\u001f\u007f]/g

/** A line that was written over (a progress bar) shows what stood there last. */
export function settled(text: string): string {
  const lines = text.replace(LINKS, '').replace(MOVES, '').replaceAll('\r\n', '\n').split('\n')
  return lines
    .map((line) => line.slice(line.replace(/\r+$/, '').lastIndexOf('\r') + 1).replace(/\r/g, ''))
    .join('\n')
    .replace(CONTROLS, '')
}

export function Ansi({ text }: { text: string }) {
  const pieces = useMemo(
    () => Anser.ansiToJson(settled(text), { use_classes: true, remove_empty: true }),
    [text],
  )
  return pieces.map((piece, index) => (
    // oxlint-disable-next-line react/no-array-index-key -- a piece is where it is
    <span key={index} className={classes(piece)}>
      <Revealed text={piece.content} />
    </span>
  ))
}

function classes(piece: ReturnType<typeof Anser.ansiToJson>[number]): string {
  const decorations = (piece.decorations ?? []).map((name) => `ansi-${name}`)
  return [piece.fg, piece.bg && `${piece.bg}-bg`, ...decorations].filter(Boolean).join(' ')
}
