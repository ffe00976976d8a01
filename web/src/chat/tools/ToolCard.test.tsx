import { render, screen } from '@testing-library/react'
import { I18nextProvider } from 'react-i18next'
import { describe, expect, it } from 'vitest'
import type { Api } from '@/connection/api'
import { createI18n } from '@/i18n/i18n'
import type { QuestionAsked, SequencedEvent } from '@/protocol/chat.generated'
import { sequenced, snapshot, view } from '@/testing/wire'
import { SessionContext } from '../session-context'
import { createSessionStore } from '../session-store'
import { receive } from '../transcript/reduce'
import { EMPTY, type ToolRow } from '../transcript/shape'
import { ToolCard } from './ToolCard'

const asked: QuestionAsked = {
  type: 'question_asked',
  question_id: 'q1',
  questions: [{ question: 'Which colour?' }],
  tool_use_id: 'u1',
}

const asking: SequencedEvent[] = [
  sequenced(1, {
    type: 'tool_started',
    tool_use_id: 'u1',
    message_id: 'm1',
    index: 0,
    name: 'AskUserQuestion',
    input: { questions: asked.questions },
  }),
  sequenced(2, asked),
]

async function show(told: SequencedEvent[], questions: QuestionAsked[]) {
  const session = view({ state: 'asking', questions })
  const { transcript } = receive(EMPTY, [snapshot(told, session)])
  const store = createSessionStore('s1', {} as Api)
  store.setState(transcript)
  const { container } = render(
    <I18nextProvider i18n={await createI18n('en')}>
      <SessionContext value={store}>
        <ToolCard row={transcript.rows['m1:0'] as ToolRow} />
      </SessionContext>
    </I18nextProvider>,
  )
  return container.querySelector<HTMLElement>('.tool')?.dataset['state']
}

describe('the card of a question', () => {
  it('waits for the person while it is open', async () => {
    expect(await show(asking, [asked])).toBe('waiting')
    expect(screen.getByText('waits for you')).toBeInTheDocument()
  })

  it('says afterwards who answered, and what', async () => {
    const answers = { 'Which colour?': 'Green' }
    await show([...asking, sequenced(3, { ...answered, answers })], [])
    expect(screen.getByText('Answered by ada · “Green”')).toBeInTheDocument()
  })
})

const answered = { type: 'question_answered', question_id: 'q1', by: 'ada' } as const
