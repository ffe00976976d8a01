import { beforeEach, expect, it } from 'vitest'
import type { i18n } from 'i18next'
import { createI18n } from '@/i18n/i18n'
import type { PermissionRequested } from '@/protocol/chat.generated'
import { permission } from '@/testing/wire'
import { reasonsOf } from './reasons'
import { offersOf } from './rules'

let words: i18n
beforeEach(async () => {
  words = await createI18n('en')
})

const asked = (change: Partial<PermissionRequested>): PermissionRequested => ({
  ...(permission('p1') as PermissionRequested),
  ...change,
})

it('names a file once, where its whole path stands', () => {
  const input = { file_path: '/workspace/top_words.py', content: '' }
  expect(reasonsOf(asked({ input, description: 'top_words.py' }), words.t)).toEqual([])
  expect(reasonsOf(asked({ input, description: 'words.py' }), words.t)).toEqual(['words.py'])
})

it('says everything else, each thing once', () => {
  const told = asked({ description: 'Build it', reason: 'Build it', blocked_path: '/etc/passwd' })
  expect(reasonsOf(told, words.t)).toEqual(['Build it', 'This concerns /etc/passwd'])
  expect(reasonsOf(asked({ description: 'make' }), words.t)).toEqual([])
})

it('calls modes by their names in the language of the page, and unknown ones as they came', async () => {
  const modes = asked({
    suggestions: [
      { kind: 'setMode', mode: 'acceptEdits' },
      { kind: 'setMode', mode: 'brandNew' },
    ],
  })
  const texts = (t: i18n['t']) => offersOf(modes, t).map((offer) => offer.text)
  expect(texts(words.t)).toEqual(['mode “Accept edits”', 'mode “brandNew”'])
  expect(texts((await createI18n('de')).t)[0]).toBe('Modus „Ändern erlaubt“')
})
