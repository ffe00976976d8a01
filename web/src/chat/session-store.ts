/**
 * One open session: its transcript, its socket and what a person can do in it. Vanilla, so that
 * React reads it with selectors and nothing renders that did not change.
 */
import { createStore, type StoreApi } from 'zustand/vanilla'
import { ProblemAnswer, type Api } from '@/connection/api'
import { SessionSocket, streamUrl, type SocketStatus } from '@/connection/session-socket'
import type {
  BrowserCommand,
  PermissionDecision,
  PermissionMode,
  SequencedEvent,
  ServerFrame,
} from '@/protocol/chat.generated'
import { receive, withEarlier, withoutPrompt, withPrompt } from './transcript/reduce'
import { EMPTY, userRowId, type Transcript } from './transcript/shape'

export interface OpenSession extends Transcript {
  readonly id: string
  readonly status: SocketStatus
  /** Decisions on their way: the card leaves only when the server says so. */
  readonly deciding: Readonly<Record<string, string>>
  /** Permissions and questions that this tab answered. */
  readonly mine: readonly string[]
  readonly loadingEarlier: boolean
}

export interface SessionStore extends StoreApi<OpenSession> {
  start(): void
  stop(): void
  kick(): void
  prompt(text: string): void
  retry(clientId: string): void
  discard(clientId: string): void
  interrupt(): void
  decide(permissionId: string, decision: PermissionDecision): void
  answer(questionId: string, answers: Record<string, string>): void
  chooseModel(model: string): void
  chooseMode(mode: PermissionMode): void
  rename(title: string): void
  end(): void
  loadEarlier(): Promise<void>
}

const EARLIER_PAGE = 200
/** A server that keeps sending holes is believed after the first snapshot: no endless asking. */
const RESYNC_PAUSE_MS = 10_000

interface EventPage {
  events: SequencedEvent[]
  earlier?: boolean
}

export function createSessionStore(id: string, api: Api): SessionStore {
  const store = createStore<OpenSession>(() => ({
    ...EMPTY,
    id,
    status: 'connecting',
    deciding: {},
    mine: [],
    loadingEarlier: false,
  }))
  const { getState: now, setState: set } = store
  const socket = new SessionSocket({
    url: streamUrl(id),
    resumePoint: () => ({ seq: now().seq, epoch: now().epoch }),
    deliver,
    onStatus: (status) => set({ status }),
    probe: () => probe(api, id),
  })
  let resyncedAt = Number.NEGATIVE_INFINITY

  function deliver(frames: ServerFrame[]): void {
    const { transcript, gap } = receive(now(), frames)
    settle(transcript, frames)
    if (!gap || performance.now() - resyncedAt < RESYNC_PAUSE_MS) return
    resyncedAt = performance.now()
    set({ seq: 0, epoch: '' })
    socket.resync()
  }

  function settle(transcript: Transcript, frames: ServerFrame[]): void {
    for (const key of confirmed(transcript, frames)) socket.confirm(key)
    const open = new Set([
      ...(transcript.session?.permissions ?? []).map((asked) => asked.permission_id),
      ...(transcript.session?.questions ?? []).map((asked) => asked.question_id),
    ])
    const refused = frames.some((frame) => frame.type === 'command_refused' && !frame.client_id)
    const still = Object.entries(now().deciding).filter(([key]) => open.has(key) && !refused)
    for (const key of Object.keys(now().deciding)) if (!open.has(key)) socket.confirm(key)
    set({ ...transcript, deciding: Object.fromEntries(still) })
  }

  function submit(clientId: string, text: string): void {
    set(withPrompt(now(), clientId, text, new Date().toISOString()))
    socket.send({ type: 'prompt', client_id: clientId, text }, clientId)
  }

  function decided(key: string, choice: string, command: BrowserCommand): void {
    set({ deciding: { ...now().deciding, [key]: choice }, mine: [...now().mine, key] })
    socket.send(command, key)
  }

  return {
    ...store,
    start: () => socket.start(),
    stop: () => socket.stop(),
    kick: () => socket.kick(),
    prompt: (text) => submit(crypto.randomUUID(), text),
    retry(clientId) {
      const row = now().rows[userRowId(clientId)]
      if (row?.kind === 'user') submit(clientId, row.text)
    },
    discard(clientId) {
      socket.confirm(clientId)
      if (now().outgoing.includes(userRowId(clientId))) set(withoutPrompt(now(), clientId))
      else socket.send({ type: 'remove_prompt', client_id: clientId })
    },
    interrupt: () => void socket.send({ type: 'stop' }),
    decide: (permissionId, decision) =>
      decided(permissionId, decision.choice, {
        type: 'decide_permission',
        permission_id: permissionId,
        decision,
      }),
    answer: (questionId, answers) =>
      decided(questionId, 'answer', { type: 'give_answer', question_id: questionId, answers }),
    chooseModel: (model) => void socket.send({ type: 'choose_model', model }),
    chooseMode: (mode) => void socket.send({ type: 'choose_permission_mode', mode }),
    rename: (title) => void socket.send({ type: 'rename', title }),
    end: () => void socket.send({ type: 'end' }),
    async loadEarlier() {
      const first = now().events[0]?.seq
      if (now().loadingEarlier || first === undefined) return
      set({ loadingEarlier: true })
      try {
        const path = `/sessions/${encodeURIComponent(id)}/events?before=${first}&limit=${EARLIER_PAGE}`
        const page = await api.ask<EventPage>(path)
        set(withEarlier(now(), page.events, page.earlier ?? false))
      } finally {
        set({ loadingEarlier: false })
      }
    },
  }
}

/** The prompts that the server has, or will never take: no need to send them again. */
function* confirmed(transcript: Transcript, frames: readonly ServerFrame[]): Iterable<string> {
  for (const frame of frames) {
    if (frame.type === 'command_refused' && frame.client_id) yield frame.client_id
    if (frame.type !== 'events' && frame.type !== 'snapshot') continue
    for (const { event } of frame.events) {
      if (event.type === 'prompt_accepted') yield event.client_id
    }
  }
  for (const prompt of transcript.session?.queue ?? []) yield prompt.client_id
}

async function probe(
  api: Api,
  id: string,
): Promise<'fine' | 'signed-out' | 'gone' | 'unreachable'> {
  try {
    await api.ask(`/sessions/${encodeURIComponent(id)}`)
    return 'fine'
  } catch (error) {
    if (!(error instanceof ProblemAnswer)) return 'unreachable'
    if (error.problem.status === 401) return 'signed-out'
    return error.problem.status === 404 ? 'gone' : 'unreachable'
  }
}
