import { describe, expect, it } from 'vitest'
import { hasUnseen, revealed } from './revealed'

const shown = (text: string) =>
  revealed(text)
    .map((piece) => piece.text)
    .join('')

describe('what cannot be seen', () => {
  it.each([
    ['a right-to-left override', 'a\u202eb', 'aU+202Eb'],
    ['a zero-width space', 'a\u200bb', 'aU+200Bb'],
    ['a no-break space', 'rm\u00a0-rf', 'rmU+00A0-rf'],
    ['an escape', '\u001b[8mhidden', 'U+001B[8mhidden'],
    ['a tag character', 'a\u{e0041}b', 'aU+E0041b'],
    ['a Hangul filler', 'a\u3164b', 'aU+3164b'],
    ['a carriage return', 'safe\rrm', 'safeU+000Drm'],
  ])('%s is shown', (_name, text, seen) => expect(shown(text)).toBe(seen))

  it('leaves ordinary text alone', () => {
    const text = 'Grüße, 日本語 👩\n\tif x: y'
    expect(shown(text)).toBe(text)
    expect(hasUnseen(text)).toBe(false)
  })
})
