import { describe, expect, it } from 'vitest'
import { de } from './de'
import { en } from './en'
import { localeOf, regionOf } from './i18n'

function sentences(tree: object, path = ''): Map<string, string> {
  return new Map(
    Object.entries(tree).flatMap(([key, value]) =>
      typeof value === 'string'
        ? [[`${path}${key}`, value] as const]
        : [...sentences(value as object, `${path}${key}.`)],
    ),
  )
}

const holes = (sentence: string) =>
  [...sentence.matchAll(/{{(\w+)}}/g)].map(([, name]) => name).toSorted()

describe('the sentences', () => {
  const english = sentences(en)
  const german = sentences(de)

  it('are the same set in every language', () => {
    expect([...german.keys()].toSorted()).toEqual([...english.keys()].toSorted())
  })

  it('are never empty, and have the same holes to fill', () => {
    for (const [key, sentence] of english) {
      expect(sentence, key).not.toBe('')
      if (key.endsWith('_one')) continue
      expect(holes(german.get(key) ?? ''), key).toEqual(holes(sentence))
    }
  })

  it('have a plural wherever they have a singular', () => {
    for (const key of english.keys()) {
      if (key.endsWith('_one')) expect(english.has(key.replace(/_one$/, '_other')), key).toBe(true)
    }
  })
})

describe('the language', () => {
  it('is what was wished, else the browser’s first that we speak, else English', () => {
    expect(localeOf('de', ['en-US'])).toBe('de')
    expect(localeOf('system', ['fr-FR', 'de-AT', 'en-US'])).toBe('de')
    expect(localeOf('system', ['fr-FR'])).toBe('en')
  })

  it('writes dates as the browser’s region does, where that speaks the same language', () => {
    expect(regionOf('en', ['en-GB', 'en-US'])).toBe('en-GB')
    expect(regionOf('de', ['en-GB', 'de-AT'])).toBe('de-AT')
    expect(regionOf('en', ['de-DE'])).toBe('en')
    expect(regionOf('en', ['eno', 'EN-AU'])).toBe('EN-AU')
  })
})
