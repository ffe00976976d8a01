/**
 * Text that somebody else wrote, taken apart so that nothing in it can hide: what is approved is
 * what runs. Bidirectional overrides can show `rm` as something else, zero-width characters hide in
 * a name, a long run of blanks pushes the rest out of sight, `а` is not `a` in a host's name.
 *
 *     exact  what is approved or ran: also long runs of blanks
 *     code   output and code, where columns may be wide
 *     line   names and one-liners: a line break or tab does not belong there either
 *     prose  titles and sentences: unusual spaces are ordinary there
 */
export type Reading = 'exact' | 'code' | 'line' | 'prose'

export type Unseen =
  | 'bidi'
  | 'zeroWidth'
  | 'tag'
  | 'variation'
  | 'surrogate'
  | 'filler'
  | 'space'
  | 'control'
  | 'private'
  | 'other'

/** `at` is where in the text it stands. A `host` stands behind the name that it is the truth of. */
export type Piece =
  | { kind: 'text' | 'rightToLeft'; at: number; text: string }
  | { kind: 'unseen'; at: number; text: string; name: Unseen; times: number }
  | { kind: 'blanks'; at: number; count: number }
  | { kind: 'host'; at: number; ascii: string }

export type Finding = 'unseen' | 'blanks' | 'host'

export function revealed(text: string, reading: Reading = 'code'): Piece[] {
  const pieces: Piece[] = []
  let end = 0
  for (const { from, to, piece } of marks(text, reading)) {
    if (from > end) pieces.push({ kind: 'text', at: end, text: text.slice(end, from) })
    pieces.push(piece)
    end = Math.max(end, to) // a host's name may end within what was shown already
  }
  if (end < text.length) pieces.push({ kind: 'text', at: end, text: text.slice(end) })
  return pieces
}

/** The same where there is only room for characters: the tab's title, what is read aloud. */
export function revealedText(text: string, reading: Reading = 'prose'): string {
  return revealed(text, reading).map(plainOf).join('')
}

/** What a person has to be told about these texts. */
export function findings(texts: Iterable<string>): Set<Finding> {
  const found = new Set<Finding>()
  for (const text of texts) {
    for (const { piece } of marks(text, 'exact')) {
      if (piece.kind !== 'text' && piece.kind !== 'rightToLeft') found.add(piece.kind)
    }
  }
  return found
}

/** All texts in a value that came as JSON, its keys included. */
export function* textsIn(value: unknown): Iterable<string> {
  if (typeof value === 'string') yield value
  else if (Array.isArray(value)) for (const item of value) yield* textsIn(item)
  else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      yield key
      yield* textsIn(item)
    }
  }
}

interface MarkedSpan {
  from: number
  to: number
  piece: Piece
}

function marks(text: string, reading: Reading): MarkedSpan[] {
  // The truth of a host comes before whatever else is marked right behind it.
  return [...hosts(text), ...characters(text, reading)].toSorted((a, b) => a.from - b.from)
}

function* characters(text: string, reading: Reading): Iterable<MarkedSpan> {
  for (const found of text.matchAll(PATTERNS[reading])) {
    const piece = pieceOf(found)
    if (piece) yield { from: found.index, to: found.index + found[0].length, piece }
  }
}

function pieceOf({ 0: text, index: at, groups }: RegExpExecArray): Piece | null {
  if (groups?.['natural']) return null
  if (groups?.['blanks']) return { kind: 'blanks', at, count: text.length }
  if (groups?.['rightToLeft']) return { kind: 'rightToLeft', at, text }
  const point = text.codePointAt(0) ?? 0
  const times = text.length / (point > 0xffff ? 2 : 1)
  return { kind: 'unseen', at, text: codePoint(point), name: nameOf(point), times }
}

function* hosts(text: string): Iterable<MarkedSpan> {
  if (!BEYOND_ASCII.test(text)) return
  for (const found of text.matchAll(HOST)) {
    const host = found[1] ?? found[2] ?? ''
    const at = found.index + found[0].length
    if (BEYOND_ASCII.test(host)) {
      yield { from: at, to: at, piece: { kind: 'host', at, ascii: asciiOf(host) } }
    }
  }
}

/** As it is looked up; empty where nothing can be. */
function asciiOf(host: string): string {
  try {
    return new URL(`http://${host}`).hostname
  } catch {
    return ''
  }
}

function plainOf(piece: Piece): string {
  switch (piece.kind) {
    case 'text':
    case 'rightToLeft':
      return piece.text
    case 'unseen':
      return `⟨${labelOf(piece)}⟩`
    case 'blanks':
      return ' '.repeat(piece.count)
    case 'host':
      return ` ⟨${piece.ascii || '?'}⟩`
  }
}

export const labelOf = ({ text, times }: { text: string; times: number }): string =>
  times > 1 ? `${text} ×${times}` : text

const codePoint = (point: number) => `U+${point.toString(16).toUpperCase().padStart(4, '0')}`

const NAMES: readonly (readonly [Unseen, RegExp])[] = [
  ['bidi', /[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/],
  ['zeroWidth', /[\u034f\u200b-\u200d\u2060-\u2064\ufeff\u00ad\u180e]/],
  ['tag', /[\u{e0000}-\u{e007f}]/u],
  ['variation', /\p{Variation_Selector}/u],
  ['surrogate', /\p{Cs}/u],
  ['filler', /[\u115f\u1160\u3164\uffa0\u17b4\u17b5]/],
  ['space', /[\p{Z}\u2800]/u],
  ['control', /\p{Cc}/u],
  ['private', /\p{Co}/u],
]

function nameOf(point: number): Unseen {
  const character = String.fromCodePoint(point)
  return NAMES.find(([, which]) => which.test(character))?.[0] ?? 'other'
}

const BEYOND_ASCII = /[^\x00-\x7f]/
/** Of a URL, behind whoever signs in there, or of `git@host:path`. Bounded: the text is not ours. */
const HOST =
  /(?<=:\/\/)(?:[^\s/?#]{0,300}@)?([^\s/?#@'"`<>|\\:)\]},;]{1,255})|(?<=\w@)([^\s/@'"`<>|\\:)]{1,255})(?=:)/gu

/** What an emoji is made of; the selectors and joiners in it are seen as what they make. */
const EMOJI = String.raw`\p{Extended_Pictographic}[\ufe0e\ufe0f]?\p{Emoji_Modifier}?`
const NATURAL = String.raw`${EMOJI}(?:\u200d${EMOJI})*|[#*0-9]\ufe0f\u20e3`
/** Beside what Unicode calls invisible: letters and symbols that have no ink. */
const NO_INK = String.raw`\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\p{Noncharacter_Code_Point}\u2800\u{1d159}\u{13441}\u{13442}`
/** Scripts that run the other way: a run of one is kept from reordering what stands beside it. */
const RIGHT_TO_LEFT = String.raw`[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]`
/** Within a line, at its beginning (where code is indented), at its end. */
const BLANKS = String.raw`(?<=[^\n\t ])[ \t]{24,}|[ \t]{80,}|[ \t]{3,}(?=\n|$)`

function pattern(except: string, rest: readonly string[]): RegExp {
  const unseen = `(?![${except}])[${NO_INK}]`
  const letters = `(?<rightToLeft>(?:(?!${unseen})${RIGHT_TO_LEFT})+)`
  const parts = [`(?<natural>${NATURAL})`, ...rest, String.raw`(?<unseen>${unseen})\k<unseen>*`]
  return new RegExp([...parts, ...(except === PROSE ? [] : [letters])].join('|'), 'gu')
}

const LINES = String.raw`\t\n `
const PROSE = String.raw`\t\n\p{Zs}`
const PATTERNS: Record<Reading, RegExp> = {
  exact: pattern(LINES, [`(?<blanks>${BLANKS})`]),
  code: pattern(LINES, []),
  line: pattern(' ', []),
  prose: pattern(PROSE, []),
}
