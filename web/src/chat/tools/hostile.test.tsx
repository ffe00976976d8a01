/** What a sandbox names is its own choice: no name breaks the page. */
import { fireEvent, render, screen } from '@testing-library/react'
import { I18nextProvider } from 'react-i18next'
import { describe, expect, it } from 'vitest'
import type { Api } from '@/connection/api'
import { createI18n } from '@/i18n/i18n'
import type { SequencedEvent } from '@/protocol/chat.generated'
import { sequenced, snapshot, view } from '@/testing/wire'
import { RowView } from '../RowView'
import { SessionContext } from '../session-context'
import { createSessionStore } from '../session-store'
import { receive } from '../transcript/reduce'
import { EMPTY } from '../transcript/shape'

const tool = (seq: number, use: string, name: string, parent: string | null = null) =>
  sequenced(seq, {
    type: 'tool_started',
    tool_use_id: use,
    message_id: `m${seq}`,
    index: 0,
    name,
    input: { prompt: `task ${seq}` },
    ...(parent === null ? {} : { parent }),
  })

async function show(events: SequencedEvent[]) {
  const { transcript } = receive(EMPTY, [snapshot(events, view({ state: 'running' }))])
  const store = createSessionStore('s1', {} as Api)
  store.setState(transcript)
  render(
    <I18nextProvider i18n={await createI18n('en')}>
      <SessionContext value={store}>
        {transcript.order.map((id) => (
          <RowView key={id} id={id} />
        ))}
      </SessionContext>
    </I18nextProvider>,
  )
}

describe('names that every object inherits', () => {
  it.each(['__proto__', 'constructor', 'toString', 'hasOwnProperty'])(
    '%s is a name',
    async (name) => {
      await show([
        tool(1, name, name),
        tool(2, 'u2', name, name),
        sequenced(3, { type: 'task_started', task_id: name, description: 'a task' }),
        sequenced(4, { type: 'tool_finished', tool_use_id: name, content: [] }),
      ])
      fireEvent.click(screen.getByRole('button'))
      expect(screen.getAllByText(name).length).toBeGreaterThan(0)
    },
  )
})
