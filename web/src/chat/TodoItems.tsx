import { useTranslation } from 'react-i18next'
import type { Todo } from '@/protocol/chat.generated'
import { Revealed } from '@/ui/Revealed'

const MARKS = { pending: '○', in_progress: '▸', completed: '✓' } as const

export function TodoItems({ todos }: { todos: readonly Todo[] }) {
  const { t } = useTranslation()
  return (
    // oxlint-disable-next-line jsx-a11y/no-redundant-roles -- Safari drops it with the bullets
    <ul className="todo-items" role="list">
      {todos.map((todo, index) => {
        const status = todo.status ?? 'pending'
        return (
          <li key={todo.id || `${index}-${todo.content}`} className="todo" data-status={status}>
            <span className="todo-mark" aria-hidden="true">
              {MARKS[status]}
            </span>
            <span>
              <span className="sr-only">{t(`chat.todo.${status}`)}: </span>
              <Revealed
                text={(status === 'in_progress' && todo.active_form) || todo.content}
                as="prose"
              />
            </span>
          </li>
        )
      })}
    </ul>
  )
}
