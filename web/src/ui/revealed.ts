/**
 * Characters that a person cannot see, made visible: what is approved is what runs. Bidirectional
 * overrides can show `rm` as something else; zero-width ones can hide in a name.
 */
// eslint-disable-next-line no-control-regex -- control characters are what is looked for
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]|[\u{e0000}-\u{e007f}\u{e0100}-\u{e01ef}]/gu

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
    if (found.index > end) pieces.push({ text: text.slice(end, found.index), at: end, unseen: false })
    pieces.push({ text: codePoint(found[0]), at: found.index, unseen: true })
    end = found.index + found[0].length
  }
  if (end < text.length) pieces.push({ text: text.slice(end), at: end, unseen: false })
  return pieces
}

export const hasUnseen = (text: string): boolean => text.search(UNSEEN) >= 0

const codePoint = (character: string) =>
  `U+${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`
