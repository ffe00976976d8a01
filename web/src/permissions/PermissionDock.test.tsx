import { render, screen } from '@testing-library/react'
import userEvent from '@testing-library/user-event'
import { I18nextProvider } from 'react-i18next'
import { beforeEach, describe, expect, it, vi } from 'vitest'
import type { i18n } from 'i18next'
import { createI18n } from '@/i18n/i18n'
import { permission } from '@/testing/wire'
import type { PermissionRequested, QuestionAsked } from '@/protocol/chat.generated'
import { parseExactly } from '@/protocol/exact-numbers'
import { PermissionDock, type DockProps } from './PermissionDock'

let words: i18n
beforeEach(async () => {
  words = await createI18n('en')
})

type Input = PermissionRequested['input']

const HASH = 'hash of make'
const asked = (id: string, command?: string) => permission(id, command) as PermissionRequested

function show(change: Partial<DockProps> = {}) {
  const props: DockProps = {
    permissions: [asked('p1')],
    questions: [],
    deciding: {},
    turnedAway: null,
    onDecide: vi.fn(),
    onAnswer: vi.fn(),
    onDone: vi.fn(),
    ...change,
  }
  const tree = (now: DockProps) => (
    <I18nextProvider i18n={words}>
      <input aria-label="elsewhere" />
      <PermissionDock {...now} />
    </I18nextProvider>
  )
  const shown = render(tree(props))
  return {
    props,
    update: (next: Partial<DockProps>) => shown.rerender(tree({ ...props, ...next })),
  }
}

const press = (name: RegExp) => userEvent.click(screen.getByRole('button', { name }))

describe('the permission dock', () => {
  it('shows exactly what would run, and the rule that "always" saves', () => {
    show({ permissions: [asked('p1', 'rm -rf build')] })
    expect(screen.getByRole('group', { name: /exactly/i })).toHaveTextContent('rm -rf build')
    expect(screen.getByText('Bash(make:*)')).toBeVisible()
  })

  it('says how many lines are not shown, shows them, and keeps the focus near', async () => {
    const content = Array.from({ length: 19 }, (_, index) => `line ${index + 1}`).join('\n')
    const input = { file_path: '/workspace/a/words.py', content }
    const write = { ...asked('p1'), tool_name: 'Write', description: 'words.py', input }
    show({ permissions: [write] })
    const diff = screen.getByRole('group', { name: /exactly/i })
    expect(diff).not.toHaveTextContent('line 19')
    expect(screen.getByText('+19 −0')).toBeVisible()
    expect(screen.getAllByText(/words\.py/)).toHaveLength(1)
    await press(/9 more lines/i)
    expect(diff).toHaveTextContent('line 19')
    expect(diff).toHaveFocus()
    expect(screen.queryByRole('button', { name: /more line/i })).toBeNull()
  })

  it('folds a long command as well', async () => {
    const command = Array.from({ length: 40 }, (_, index) => `echo ${index + 1}`).join('\n')
    show({ permissions: [asked('p1', command)] })
    await press(/30 more lines/i)
    expect(screen.getByRole('group', { name: /exactly/i })).toHaveTextContent('echo 40')
  })

  it('lets no long words of Claude push what is approved out of sight', async () => {
    const description = `Runs the tests. ${'All is well. '.repeat(2_000)}the end`
    show({ permissions: [{ ...asked('p1', 'rm -rf ~'), title: description, description }] })
    expect(screen.getByRole('heading').textContent?.length).toBeLessThan(100)
    const said = screen.getByText(/^Runs the tests/)
    expect(said.textContent?.length).toBeLessThan(300)
    await press(/more lines/i)
    expect(said).toHaveTextContent('the end')
  })

  it('shows characters that would hide, names them, and says so in plain words', () => {
    show({ permissions: [asked('p1', 'echo \u202egnp.exe\u200b')] })
    const exactly = screen.getByRole('group', { name: /exactly/i })
    expect(exactly).toHaveTextContent(/⟨U\+202E⟩gnp\.exe.*⟨U\+200B⟩/)
    expect(exactly).toHaveTextContent('Changes the direction of text:')
    expect(screen.getByText(/normally invisible. They/)).toBeVisible()
  })

  it.each([
    [
      'a host that only looks like another',
      'curl https://аpple.com',
      /not plain ASCII/,
      'xn--pple-43d.com',
    ],
    [
      'a tail behind many blanks',
      `ls${' '.repeat(90)}; rm -rf ~`,
      /long runs of blanks/,
      '⟨90 blanks⟩; rm',
    ],
    [
      'an escape that hides what follows',
      'echo \u001b[8m; rm',
      /normally invisible/,
      '⟨U+001B⟩[8m; rm',
    ],
  ])('warns of %s', (_name, command, warning, shown) => {
    show({ permissions: [asked('p1', command)] })
    expect(screen.getByText(warning)).toBeVisible()
    expect(screen.getByRole('group', { name: /exactly/i })).toHaveTextContent(shown)
  })

  it('shows what would run in another tool as it is, with its numbers unrounded', async () => {
    const input = parseExactly('{"to":"a\u202e","amount":9007199254740993}') as Input
    const { props } = show({
      permissions: [{ ...asked('p1'), tool_name: 'mcp__bank__pay', input }],
    })
    const exactly = screen.getByRole('group', { name: /exactly/i })
    expect(exactly).toHaveTextContent(/⟨U\+202E⟩.*9007199254740993/)
    await press(/edit first/i)
    await press(/allow as edited/i)
    const decision = vi.mocked(props.onDecide).mock.lastCall?.[1]
    expect(JSON.stringify(decision?.updated_input)).toContain('9007199254740993')
  })

  it('names the tool, whatever the title calls it', () => {
    show({ permissions: [{ ...asked('p1'), title: 'Allow Read?', display_name: 'Read' }] })
    expect(screen.getByRole('heading')).toHaveTextContent(/Allow Read\?.*Bash/)
  })

  it('says while something is folded that allowing allows it too', async () => {
    const command = Array.from({ length: 40 }, (_, index) => `echo ${index + 1}`).join('\n')
    show({ permissions: [asked('p1', command)] })
    expect(screen.getByText(/^30 lines of this are not shown yet/)).toBeVisible()
    await press(/30 more lines/i)
    expect(screen.queryByText(/not shown yet/)).toBeNull()
  })

  it('says why a decision was not taken, and shows the request anew', async () => {
    const { update } = show({ permissions: [asked('p1', 'make')] })
    await press(/deny/i)
    update({
      permissions: [asked('p1', 'make install')],
      turnedAway: {
        tag: 'input_changed',
        title: 'This is not what was asked.',
        detail: 'Look again.',
      },
    })
    expect(screen.getByText('This is not what was asked. Look again.')).toBeVisible()
    expect(screen.getByRole('group', { name: /exactly/i })).toHaveTextContent('make install')
    expect(screen.getByRole('button', { name: /allow once/i })).toBeEnabled()
  })

  it('saves the narrow rule alone, and a wider grant only where it is picked', async () => {
    const wide = {
      ...asked('p1'),
      suggestions: [
        { kind: 'setMode', mode: 'acceptEdits' },
        { kind: 'addRules', rules: [{ tool: 'Bash', content: 'make:*' }] },
      ],
    }
    const { props } = show({ permissions: [wide] })
    await press(/always/i)
    expect(props.onDecide).toHaveBeenLastCalledWith('p1', {
      choice: 'allow_always',
      input_hash: HASH,
      suggestions: [1],
    })
    await userEvent.click(screen.getByRole('checkbox', { name: /Accept edits/ }))
    await press(/always/i)
    expect(props.onDecide).toHaveBeenLastCalledWith('p1', {
      choice: 'allow_always',
      input_hash: HASH,
      suggestions: [0, 1],
    })
    for (const box of screen.getAllByRole('checkbox')) await userEvent.click(box)
    expect(screen.queryByRole('button', { name: /always/i })).toBeNull()
  })

  it('allows once, and always', async () => {
    const { props } = show()
    await press(/allow once/i)
    expect(props.onDecide).toHaveBeenLastCalledWith('p1', { choice: 'allow', input_hash: HASH })
    await press(/always/i)
    expect(props.onDecide).toHaveBeenLastCalledWith('p1', {
      choice: 'allow_always',
      input_hash: HASH,
      suggestions: [0],
    })
  })

  it('denies with a reason, or stops the turn as well', async () => {
    const { props } = show()
    await press(/deny/i)
    await userEvent.type(screen.getByRole('textbox', { name: /why not/i }), 'wrong folder')
    await press(/^deny$/i)
    expect(props.onDecide).toHaveBeenLastCalledWith('p1', {
      choice: 'deny',
      input_hash: HASH,
      reason: 'wrong folder',
    })
    await press(/deny and stop/i)
    expect(props.onDecide).toHaveBeenLastCalledWith('p1', {
      choice: 'deny_and_stop',
      input_hash: HASH,
      reason: 'wrong folder',
    })
  })

  it('lets the command be changed first', async () => {
    const { props } = show()
    await press(/edit first/i)
    const field = screen.getByRole('textbox', { name: /command/i })
    await userEvent.clear(field)
    await userEvent.type(field, 'make -n')
    await press(/allow as edited/i)
    expect(props.onDecide).toHaveBeenLastCalledWith('p1', {
      choice: 'allow',
      input_hash: HASH,
      updated_input: { command: 'make -n' },
    })
  })

  it('takes no focus by itself, and Alt+P leads to its heading, not to a button', async () => {
    const { update } = show({ permissions: [] })
    screen.getByLabelText('elsewhere').focus()
    update({ permissions: [asked('p1')] })
    expect(screen.getByLabelText('elsewhere')).toHaveFocus()
    await userEvent.keyboard('{Alt>}p{/Alt}')
    expect(screen.getByRole('heading', { name: /allow bash/i })).toHaveFocus()
  })

  it('obeys its digits only when it has the focus', async () => {
    const { props } = show()
    screen.getByLabelText('elsewhere').focus()
    await userEvent.keyboard('1')
    expect(props.onDecide).not.toHaveBeenCalled()
    screen.getByRole('heading').focus()
    await userEvent.keyboard('2')
    expect(props.onDecide).toHaveBeenLastCalledWith('p1', {
      choice: 'allow_always',
      input_hash: HASH,
      suggestions: [0],
    })
  })

  it('cannot be answered twice while the answer is on its way', async () => {
    const { props } = show({ deciding: { p1: 'allow' } })
    await press(/allow once/i)
    expect(props.onDecide).not.toHaveBeenCalled()
    expect(screen.getByText('Sending…')).toBeVisible()
  })

  it('shows several one by one, and gives the focus back after the last', async () => {
    const { props, update } = show({ permissions: [asked('p1'), asked('p2', 'ls')] })
    expect(screen.getByText('1/2')).toBeVisible()
    await press(/next request/i)
    expect(screen.getByRole('group', { name: /exactly/i })).toHaveTextContent('ls')
    await press(/allow once/i)
    expect(props.onDecide).toHaveBeenLastCalledWith('p2', {
      choice: 'allow',
      input_hash: 'hash of ls',
    })
    update({ permissions: [] })
    expect(props.onDone).toHaveBeenCalled()
  })
})

describe('a question', () => {
  it("is nobody else's, whatever it is called", () => {
    const named: QuestionAsked = { type: 'question_asked', question_id: 'toString', questions: [] }
    show({ permissions: [], questions: [named] })
    expect(screen.queryByText('Sending…')).toBeNull()
  })

  const question: QuestionAsked = {
    type: 'question_asked',
    question_id: 'q1',
    questions: [
      { question: 'Which one?', options: [{ label: 'SQLite' }, { label: 'PostgreSQL' }] },
      { question: 'Extras?', multi_select: true, options: [{ label: 'A' }, { label: 'B' }] },
    ],
  }

  it('is answered by a choice, by several, or in own words', async () => {
    const { props } = show({ permissions: [], questions: [question] })
    expect(screen.getByRole('button', { name: /answer/i })).toBeDisabled()
    await userEvent.click(screen.getByRole('radio', { name: 'SQLite' }))
    await userEvent.click(screen.getByRole('checkbox', { name: 'B' }))
    await userEvent.click(screen.getByRole('checkbox', { name: 'A' }))
    const own = screen.getAllByRole('textbox', { name: /own words/i })
    await userEvent.type(own[1] as HTMLElement, 'and C')
    await press(/answer/i)
    expect(props.onAnswer).toHaveBeenCalledWith('q1', {
      'Which one?': 'SQLite',
      'Extras?': 'A, B, and C',
    })
  })
})
