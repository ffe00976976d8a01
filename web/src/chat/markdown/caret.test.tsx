import { render } from '@testing-library/react'
import { I18nextProvider } from 'react-i18next'
import { beforeEach, describe, expect, it } from 'vitest'
import type { i18n } from 'i18next'
import { createI18n } from '@/i18n/i18n'
import { Markdown } from './Markdown'

let words: i18n
beforeEach(async () => {
  words = await createI18n('en')
})

function caretIn(text: string, open = true) {
  const { container } = render(
    <I18nextProvider i18n={words}>
      <Markdown text={text} open={open} caret />
    </I18nextProvider>,
  )
  return [...container.querySelectorAll('.caret')]
}

describe('the caret', () => {
  it.each([
    ['a paragraph', 'One.\n\nTwo wor', 'P'],
    ['a heading', '## Two wor', 'H2'],
    ['a list', '1. One\n2. Two wor', 'LI'],
    ['a list in a list', '- One\n  - in it\n- Two\n  - wor', 'LI'],
    ['a loose list', '- One\n\n- Two wor', 'P'],
  ])('stands behind the last word of %s, once', (_what, text, parent) => {
    const carets = caretIn(text)
    expect(carets).toHaveLength(1)
    expect(carets[0]?.parentElement?.tagName).toBe(parent)
    expect(carets[0]?.previousSibling?.textContent).toMatch(/wor$/)
  })

  it('stands below code, and alone before the first word', () => {
    expect(caretIn('```py\nprint(1)')[0]?.closest('pre, code')).toBeNull()
    expect(caretIn('')).toHaveLength(1)
  })

  it('is gone when the text is finished', () => {
    expect(caretIn('Two words.', false)).toHaveLength(0)
  })
})
