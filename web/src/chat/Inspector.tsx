/** Beside the transcript: the plan, the subagents, and the sandbox that all of it runs in. */
import { lazy, Suspense } from 'react'
import { useTranslation } from 'react-i18next'
import { FilesPanel } from '@/files/FilesPanel'
import type { SessionState } from '@/protocol/chat.generated'
import { brief, count, money } from '@/ui/format'
import { own } from '@/ui/own'
import { Revealed } from '@/ui/Revealed'
import { StateShape, type Shape } from '@/ui/StateShape'
import { Gauges } from './Gauges'
import { useSession, useSessionStore } from './session-context'
import type { OpenSession } from './session-store'
import { TodoItems } from './TodoItems'
import type { Task } from './transcript/shape'
import './inspector.css'

export function Inspector() {
  const { t } = useTranslation()
  return (
    <aside className="inspector" aria-label={t('chat.inspector')} tabIndex={-1}>
      <Panels />
    </aside>
  )
}

/** The same where there is no room beside the transcript: in a dialog. */
export function Panels() {
  return (
    <>
      <Plan />
      <Agents />
      <Files />
      <Kept />
      <Sandbox />
    </>
  )
}

const WITHOUT_SANDBOX: Partial<Record<SessionState, 'waiting' | 'asleep'>> = {
  waiting: 'waiting',
  waking: 'waiting',
  hibernated: 'asleep',
}

function Files() {
  const store = useSessionStore()
  const id = useSession((session) => session.id)
  const state = useSession(({ session }) => session?.state ?? 'waiting')
  const version = useSession(changes)
  const over = state === 'ended' || state === 'failed' || state === 'ending'
  return (
    <FilesPanel
      id={id}
      workspace={store.workspace}
      uploads={store.uploads}
      sandbox={over ? 'gone' : (WITHOUT_SANDBOX[state] ?? 'there')}
      version={version}
    />
  )
}

/**
 * What may have changed the workspace: turns that are over, files that somebody put there. One whose
 * sandbox was lost leaves nothing to look at yet.
 */
function changes({ turns, order, rows }: OpenSession): string {
  const over = turns.filter(
    ({ outcome, lost }) => outcome !== 'running' && outcome !== 'stopping' && !lost,
  ).length
  return `${over} ${order.filter((row) => rows[row]?.kind === 'upload').length}`
}

const CheckpointsPanel = lazy(() => import('@/checkpoints/CheckpointsPanel'))

/** Between turns one may go back, also in a session that sleeps. */
function Kept() {
  const store = useSessionStore()
  const id = useSession((session) => session.id)
  const state = useSession(({ session }) => session?.state ?? 'waiting')
  const latest = useSession(({ session }) => session?.checkpoint_id ?? '')
  const online = useSession((session) => session.status === 'online')
  const idle = online && state === 'idle'
  if (latest === '' && state === 'waiting') return null
  return (
    <Suspense fallback={null}>
      <CheckpointsPanel
        id={id}
        checkpoints={store.checkpoints}
        latest={latest}
        may={{ take: idle, sleep: idle, goBack: idle || (online && state === 'hibernated') }}
        onTake={store.takeCheckpoint}
        onGoBack={store.goBack}
        onSleep={store.hibernate}
      />
    </Suspense>
  )
}

function Plan() {
  const { t } = useTranslation()
  const todos = useSession((session) => session.todos)
  if (todos.length === 0) return null
  const done = todos.filter((todo) => todo.status === 'completed').length
  return (
    <section className="panel" aria-labelledby="panel-plan">
      <h2 id="panel-plan" className="panel-title">
        {t('chat.plan')}
        <span className="mono">
          {done}/{todos.length}
        </span>
      </h2>
      <TodoItems todos={todos} />
    </section>
  )
}

/** On a phone the plan is one line above the composer: what is being done now. */
export function PlanLine() {
  const { t } = useTranslation()
  const todos = useSession((session) => session.todos)
  const current = todos.find((todo) => todo.status === 'in_progress')
  const done = todos.filter((todo) => todo.status === 'completed').length
  if (todos.length === 0 || done === todos.length) return null
  return (
    <details className="plan-line">
      <summary>
        <span className="mono">
          {done}/{todos.length}
        </span>{' '}
        <Revealed
          text={current ? current.active_form || current.content : t('chat.plan')}
          as="prose"
        />
      </summary>
      <TodoItems todos={todos} />
    </details>
  )
}

const SHAPES: Record<string, Shape> = { running: 'running', failed: 'failed', pending: 'starting' }

function Agents() {
  const { t } = useTranslation()
  const tasks = useSession((session) => session.tasks)
  const list = Object.values(tasks)
  if (list.length === 0) return null
  return (
    <section className="panel" aria-labelledby="panel-agents">
      <h2 id="panel-agents" className="panel-title">
        {t('chat.agents')}
        <span className="mono">{list.length}</span>
      </h2>
      {/* oxlint-disable-next-line jsx-a11y/no-redundant-roles -- Safari drops it with the bullets */}
      <ul role="list" className="panel-list">
        {list.map((task) => (
          <li key={task.id} className="task">
            <StateShape shape={own(SHAPES, task.status) ?? 'idle'} label={task.status} />
            <span className="task-name">
              <Revealed text={task.description || task.id} as="line" />
            </span>
            <span className="mono muted">{task.durationMs ? brief(task.durationMs) : ''}</span>
            <span className="task-detail">
              <Revealed text={detailOf(task, t)} as="prose" />
            </span>
          </li>
        ))}
      </ul>
    </section>
  )
}

function detailOf(task: Task, t: ReturnType<typeof useTranslation>['t']): string {
  if (task.status !== 'running') return task.summary
  const tools = task.toolUses > 0 ? t('chat.toolUses', { count: task.toolUses }) : ''
  return [tools, task.lastTool].filter(Boolean).join(' · ')
}

function Sandbox() {
  const { t } = useTranslation()
  const view = useSession((session) => session.session)
  const agent = useSession((session) => session.agent)
  if (!view) return null
  const usage = view.usage ?? {}
  const facts: [string, string][] = [
    [t('chat.fact.profile'), view.profile],
    [t('chat.fact.sandbox'), (view.sandbox_id ?? '').slice(0, 12)],
    [t('chat.fact.model'), agent?.model ?? view.model ?? ''],
    [t('chat.fact.cwd'), agent?.cwd ?? ''],
    [
      t('chat.fact.context'),
      view.context_window ? `${count(view.context_used ?? 0)} / ${count(view.context_window)}` : '',
    ],
    [t('chat.fact.input'), count(usage.input_tokens ?? 0)],
    [t('chat.fact.cached'), count(usage.cache_read_tokens ?? 0)],
    [t('chat.fact.output'), count(usage.output_tokens ?? 0)],
    [t('chat.fact.cost'), money(view.cost_usd ?? 0)],
  ]
  return (
    <section className="panel" aria-labelledby="panel-sandbox">
      <h2 id="panel-sandbox" className="panel-title">
        {t('chat.sandbox')}
      </h2>
      <Gauges />
      <dl className="facts">
        {facts
          .filter(([, value]) => value !== '')
          .map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd className="mono">
                <Revealed text={value} as="line" />
              </dd>
            </div>
          ))}
      </dl>
    </section>
  )
}
