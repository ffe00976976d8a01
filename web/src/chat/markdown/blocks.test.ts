import { describe, expect, it } from 'vitest'
import { closed, NOTHING, split } from './blocks'
import { foreignHost, safeUrl } from './links'

const TEXT = `# Title

First paragraph with **bold**.

- one
- two

  still two

\`\`\`python
def f():

    return 1
\`\`\`

| a | b |
| - | - |
| 1 | 2 |

Last words.
`

describe('splitting', () => {
  it('loses nothing', () => {
    expect(split(NOTHING, TEXT).blocks.join('')).toBe(TEXT)
  })

  it('gives the same blocks, whether the text came at once or piece by piece', () => {
    let state = NOTHING
    for (let end = 1; end <= TEXT.length; end += 3) state = split(state, TEXT.slice(0, end))
    state = split(state, TEXT)
    expect(state.blocks).toEqual(split(NOTHING, TEXT).blocks)
  })

  it('keeps settled blocks as they are', () => {
    const before = split(NOTHING, TEXT)
    const after = split(before, `${TEXT}More.`)
    expect(after.blocks.slice(0, -2)).toEqual(before.blocks.slice(0, -2))
  })

  it('closes what is half-written', () => {
    expect(closed('some **bold')).toBe('some **bold**')
  })
})

describe('links', () => {
  it.each(['javascript:alert(1)', 'data:text/html,x', '/etc/passwd', 'vbscript:x', 'file:///x'])(
    'to %s lead nowhere',
    (url) => expect(safeUrl(url)).toBe(''),
  )

  it('show the host where the text does not', () => {
    expect(foreignHost('https://evil.example/x', 'https://good.example')).toBe('evil.example')
    expect(foreignHost('https://good.example/x', 'https://good.example/y')).toBe('')
    expect(foreignHost('https://good.example', 'good.example')).toBe('')
  })
})
