import { describe, expect, it } from 'vitest'
import { findings, revealed, revealedText, textsIn, type Reading } from './revealed'

const shown = (text: string, reading: Reading = 'exact') =>
  revealed(text, reading)
    .map((piece) => {
      if (piece.kind === 'unseen') return `⟨${piece.text}${'+'.repeat(piece.times - 1)}⟩`
      if (piece.kind === 'blanks') return `⟨${piece.count}⟩`
      return piece.kind === 'host' ? `⟨=${piece.ascii}⟩` : piece.text
    })
    .join('')

describe('what cannot be seen', () => {
  it.each([
    ['a right-to-left override', 'a\u202eb', 'a⟨U+202E⟩b'],
    ['an isolate', 'a\u2066b\u2069', 'a⟨U+2066⟩b⟨U+2069⟩'],
    ['an Arabic letter mark', 'a\u061cb', 'a⟨U+061C⟩b'],
    ['a zero-width space', 'a\u200bb', 'a⟨U+200B⟩b'],
    ['many of the same as one', 'a\u200b\u200b\u200bb', 'a⟨U+200B++⟩b'],
    ['an invisible operator', 'a\u2062b', 'a⟨U+2062⟩b'],
    ['a byte order mark', '\ufeffa', '⟨U+FEFF⟩a'],
    ['a soft hyphen', 'r\u00adm', 'r⟨U+00AD⟩m'],
    ['a no-break space', 'rm\u00a0-rf', 'rm⟨U+00A0⟩-rf'],
    ['an ideographic space', 'rm\u3000-rf', 'rm⟨U+3000⟩-rf'],
    ['an escape', '\u001b[8mhidden', '⟨U+001B⟩[8mhidden'],
    ['a C1 control', 'a\u009bb', 'a⟨U+009B⟩b'],
    ['a tag character', 'a\u{e0041}b', 'a⟨U+E0041⟩b'],
    ['a variation selector after a letter', 'a\ufe0f\u{e0100}b', 'a⟨U+FE0F⟩⟨U+E0100⟩b'],
    ['a joiner outside an emoji', 'a\u200db', 'a⟨U+200D⟩b'],
    ['a Hangul filler', 'a\u3164b', 'a⟨U+3164⟩b'],
    ['a blank Braille pattern', 'a\u2800b', 'a⟨U+2800⟩b'],
    ['a carriage return', 'safe\rrm', 'safe⟨U+000D⟩rm'],
    ['a line separator', 'a\u2028b', 'a⟨U+2028⟩b'],
    ['half a surrogate pair', 'a\ud83db', 'a⟨U+D83D⟩b'],
    ['a private character', 'a\ue000b', 'a⟨U+E000⟩b'],
  ])('%s is shown', (_name, text, seen) => {
    expect(shown(text)).toBe(seen)
    expect(findings([text])).toEqual(new Set(['unseen']))
  })

  it.each(['Grüße, 日本語 👩\n\tif x: y', '❤️ 👩🏽‍💻 👩‍❤️‍👨 1️⃣ ☎︎', 'combining: e\u0301, 가나다', ''])(
    'ordinary text stays as it is: %s',
    (text) => {
      expect(shown(text)).toBe(text)
      expect(findings([text])).toEqual(new Set())
    },
  )

  it('loses and adds no character, whatever the text', () => {
    const alphabet = [
      ...'ab \t\n\r\u202e\u200b\u200d\ufe0f👩א/:@.а\ud800\u00a0',
      '://',
      ' '.repeat(30),
    ]
    let state = 7
    const next = () => (state = (state * 48271) % 2147483647)
    for (let round = 0; round < 500; round += 1) {
      const text = Array.from(
        { length: next() % 40 },
        () => alphabet[next() % alphabet.length],
      ).join('')
      for (const reading of ['exact', 'code', 'line', 'prose'] as const) {
        expect(lengthOf(text, reading)).toBe(text.length)
        expect(
          revealed(text, reading).every(
            (piece, index, all) => piece.at >= (all[index - 1]?.at ?? 0),
          ),
        ).toBe(true)
      }
    }
  })
})

/** What the pieces stand for, in UTF-16 units. */
function lengthOf(text: string, reading: Reading): number {
  return revealed(text, reading)
    .map((piece) => {
      if (piece.kind === 'host') return 0
      if (piece.kind === 'blanks') return piece.count
      if (piece.kind !== 'unseen') return piece.text.length
      return piece.times * (parseInt(piece.text.slice(2), 16) > 0xffff ? 2 : 1)
    })
    .reduce((sum, length) => sum + length, 0)
}

describe('how it is read', () => {
  it('takes line breaks and tabs for hidden in a name', () => {
    expect(shown('a\nb\tc', 'line')).toBe('a⟨U+000A⟩b⟨U+0009⟩c')
    expect(shown('a\nb\tc', 'code')).toBe('a\nb\tc')
  })

  it('takes unusual spaces for ordinary in prose, and overrides for hidden everywhere', () => {
    expect(shown('10\u00a0km\u202e', 'prose')).toBe('10\u00a0km⟨U+202E⟩')
  })

  it('keeps letters that run the other way from reordering what stands beside them', () => {
    const kinds = (reading: Reading) => revealed('rm א/ב x', reading).map((piece) => piece.kind)
    expect(kinds('exact')).toEqual(['text', 'rightToLeft', 'text', 'rightToLeft', 'text'])
    expect(kinds('prose')).toEqual(['text'])
    expect(shown('א\u200fב')).toBe('א⟨U+200F⟩ב')
  })

  it('fits where there is only room for characters', () => {
    expect(revealedText('a\u202eb https://аpple.com')).toBe(
      'a⟨U+202E⟩b https://аpple.com ⟨xn--pple-43d.com⟩',
    )
  })
})

describe('blanks', () => {
  it('that push a tail out of sight are counted', () => {
    expect(shown(`ls${' '.repeat(60)}; rm -rf ~`)).toBe('ls⟨60⟩; rm -rf ~')
    expect(shown(`${'\t'.repeat(90)}rm`)).toBe('⟨90⟩rm')
    expect(shown('ls     \nrm')).toBe('ls⟨5⟩\nrm')
    expect(findings([`ls${' '.repeat(60)}; rm`])).toEqual(new Set(['blanks']))
  })

  it('that indent or align are left alone', () => {
    const text = `def f():\n${' '.repeat(20)}x = 1${' '.repeat(8)}# why  `
    expect(shown(text)).toBe(text)
    expect(shown(`a${' '.repeat(60)}b`, 'code')).toBe(`a${' '.repeat(60)}b`)
  })
})

describe('the name of a host', () => {
  it.each([
    ['curl https://аpple.com/x', 'curl https://аpple.com⟨=xn--pple-43d.com⟩/x'],
    ['git clone git@gіthub.com:a/b', 'git clone git@gіthub.com⟨=xn--gthub-n2e.com⟩:a/b'],
    ['http://user:pw@exаmple.org:81', 'http://user:pw@exаmple.org⟨=xn--exmple-4nf.org⟩:81'],
    [`x://а.org${' '.repeat(40)};`, 'x://а.org⟨=xn--80a.org⟩⟨40⟩;'],
    ['http://example。org/', 'http://example。org⟨=example.org⟩/'],
    ['https://ok.example/grüße', 'https://ok.example/grüße'],
    ['echo für.txt > über@', 'echo für.txt > über@'],
  ])('beyond ASCII has the one that is looked up beside it: %s', (text, seen) =>
    expect(shown(text)).toBe(seen),
  )

  it('that cannot be one is said to be none', () => {
    expect(revealed('https://а%%/').find((piece) => piece.kind === 'host')).toMatchObject({
      ascii: '',
    })
  })
})

describe('a text that was made to take long', () => {
  it.each([
    'a.'.repeat(200_000),
    '://@'.repeat(100_000) + 'é',
    'a@'.repeat(200_000) + 'é',
    ' '.repeat(400_000),
    ' x'.repeat(200_000),
    '\u200b'.repeat(400_000),
    '👩\u200d'.repeat(100_000),
    'א'.repeat(400_000),
  ])('does not', (text) => {
    const start = performance.now()
    revealed(text, 'exact')
    expect(performance.now() - start).toBeLessThan(2_000)
  })
})

it('every text of an input is looked at, its keys too', () => {
  expect([...textsIn({ a: ['b', 1, null, { c: 'd' }] })]).toEqual(['a', 'b', 'c', 'd'])
})
