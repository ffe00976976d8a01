/**
 * Characters that a person cannot see, made visible: what is approved is what runs. Bidirectional
 * overrides can show `rm` as something else; zero-width ones can hide in a name.
 */
const UNSEEN = /(?![\t\n ])[\p{Cc}\p{Cf}\p{Co}\p{Z}\p{Default_Ignorable_Code_Point}]/gu

export interface Piece {
  text: string
  /** Where in the text it stands: the key of its element. */
  at: number
  unseen: boolean
}

export function revealed(text: string): Piece[] {
  const pieces: Piece[] = []
  let end = 0
  for (const found of text.matchAll(UNSEEN)) {
    if (found.index > end)
      pieces.push({ text: text.slice(end, found.index), at: end, unseen: false })
    pieces.push({ text: codePoint(found[0]), at: found.index, unseen: true })
    end = found.index + found[0].length
  }
  if (end < text.length) pieces.push({ text: text.slice(end), at: end, unseen: false })
  return pieces
}

export const hasUnseen = (text: string): boolean => text.search(UNSEEN) >= 0

const codePoint = (character: string) =>
  `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
