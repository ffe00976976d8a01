/**
 * One open session: its transcript, its socket and what a person can do in it. Vanilla, so that
 * React reads it with selectors and nothing renders that did not change.
 */
import { createStore, type StoreApi } from 'zustand/vanilla'
import { checkpointsOf, type Checkpoints } from '@/checkpoints/checkpoints'
import { ProblemAnswer, type Api } from '@/connection/api'
import { createUploads, type Uploads } from '@/files/uploads'
import { workspaceOf, type Workspace } from '@/files/workspace'
import { SessionSocket, streamUrl, type SocketStatus } from '@/connection/session-socket'
import type {
  BrowserCommand,
  PermissionDecision,
  PermissionMode,
  SequencedEvent,
  Problem,
  ServerFrame,
} from '@/protocol/chat.generated'
import { parseEvents } from '@/protocol/exact-numbers'
import { receive, withEarlier, withoutPrompt, withPrompt } from './transcript/reduce'
import { EMPTY, userRowId, type Transcript } from './transcript/shape'

export interface OpenSession extends Transcript {
  readonly id: string
  readonly status: SocketStatus
  /** Decisions on their way: the card leaves only when the server says so. */
  readonly deciding: Readonly<Record<string, string>>
  /** Why the last decision was not taken; the request is then shown anew. */
  readonly turnedAway: Problem | null
  /** Permissions and questions that this tab answered. */
  readonly mine: readonly string[]
  readonly loadingEarlier: boolean
  /** A prompt that goes back into the composer, to be changed and sent again. */
  readonly returned: { readonly text: string } | null
}

export interface SessionStore extends StoreApi<OpenSession> {
  readonly workspace: Workspace
  readonly checkpoints: Checkpoints
  readonly uploads: Uploads
  start(): void
  stop(): void
  kick(): void
  prompt(text: string): void
  retry(clientId: string): void
  discard(clientId: string): void
  /** Puts a prompt back into the composer. */
  editAgain(text: string): void
  interrupt(): void
  decide(permissionId: string, decision: PermissionDecision): void
  answer(questionId: string, answers: Record<string, string>): void
  chooseModel(model: string): void
  chooseMode(mode: PermissionMode): void
  rename(title: string): void
  end(): void
  /** The unfinished prompt, by its id. */
  runAgain(unfinished: string): void
  letGo(unfinished: string): void
  takeCheckpoint(): void
  goBack(checkpointId: string): void
  hibernate(): void
  wake(): void
  loadEarlier(): Promise<void>
}

const EARLIER_PAGE = 200
/** A server that keeps sending holes is believed after the first snapshot: no endless asking. */
const RESYNC_PAUSE_MS = 10_000

interface EventPage {
  events: SequencedEvent[]
  earlier?: boolean
}

type State = StoreApi<OpenSession>

export function createSessionStore(id: string, api: Api): SessionStore {
  const state = createStore<OpenSession>(() => ({
    ...EMPTY,
    id,
    status: 'connecting',
    deciding: {},
    turnedAway: null,
    mine: [],
    loadingEarlier: false,
    returned: null,
  }))
  const socket = follow(state, api)
  const workspace = workspaceOf(api, id)
  return {
    ...state,
    workspace,
    checkpoints: checkpointsOf(api, id),
    uploads: createUploads(workspace),
    ...prompting(state, socket),
    ...answering(state, socket),
    ...lasting(socket),
    start: () => socket.start(),
    stop: () => socket.stop(),
    kick: () => socket.kick(),
    interrupt: () => void socket.send({ type: 'stop' }),
    chooseModel: (model) => void socket.send({ type: 'choose_model', model }),
    chooseMode: (mode) => void socket.send({ type: 'choose_permission_mode', mode }),
    rename: (title) => void socket.send({ type: 'rename', title }),
    end: () => void socket.send({ type: 'end' }),
    loadEarlier: () => loadEarlier(state, api),
  }
}

/** The socket, and what its frames do to the state. */
function follow({ getState: now, setState: set }: State, api: Api): SessionSocket {
  let resyncedAt = Number.NEGATIVE_INFINITY
  const socket = new SessionSocket({
    url: streamUrl(now().id),
    resumePoint: () => ({ seq: now().seq, epoch: now().epoch }),
    deliver(frames) {
      const { transcript, gap } = receive(now(), frames)
      for (const key of settledKeys(now(), transcript, frames)) socket.confirm(key)
      const turnedAway = refusedDecision(frames)
      set({ ...transcript, deciding: stillDeciding(now().deciding, transcript, frames) })
      if (turnedAway) set({ turnedAway })
      // What was decided on may not be what is asked: the request is shown as it is now.
      if (!(gap || turnedAway) || performance.now() - resyncedAt < RESYNC_PAUSE_MS) return
      resyncedAt = performance.now()
      set({ seq: 0, epoch: '' })
      socket.resync()
    },
    onStatus: (status) => set({ status }),
    restarting: () => !!now().session?.notices?.some(({ tag }) => tag === 'restarting'),
    probe: () => probe(api, now().id),
  })
  return socket
}

function prompting({ getState: now, setState: set }: State, socket: SessionSocket) {
  const submit = (clientId: string, text: string) => {
    set(withPrompt(now(), clientId, text, new Date().toISOString()))
    socket.send({ type: 'prompt', client_id: clientId, text }, clientId)
  }
  return {
    prompt: (text: string) => submit(crypto.randomUUID(), text),
    editAgain: (text: string) => set({ returned: { text } }),
    retry(clientId: string) {
      const row = now().rows[userRowId(clientId)]
      if (row?.kind === 'user') submit(clientId, row.text)
    },
    discard(clientId: string) {
      socket.confirm(clientId)
      if (now().outgoing.includes(userRowId(clientId))) set(withoutPrompt(now(), clientId))
      else socket.send({ type: 'remove_prompt', client_id: clientId })
    },
  }
}

function answering({ getState: now, setState: set }: State, socket: SessionSocket) {
  const decided = (key: string, choice: string, command: BrowserCommand) => {
    const mine = [...now().mine, key]
    set({ deciding: { ...now().deciding, [key]: choice }, mine, turnedAway: null })
    socket.send(command, key)
  }
  return {
    decide: (permissionId: string, decision: PermissionDecision) =>
      decided(permissionId, decision.choice, {
        type: 'decide_permission',
        permission_id: permissionId,
        decision,
      }),
    answer: (questionId: string, answers: Record<string, string>) =>
      decided(questionId, 'answer', { type: 'give_answer', question_id: questionId, answers }),
    runAgain: (unfinished: string) =>
      decided(unfinishedKey(unfinished), 'again', {
        type: 'run_again',
        client_id: crypto.randomUUID(),
        unfinished,
      }),
    letGo: (unfinished: string) =>
      decided(unfinishedKey(unfinished), 'let_go', { type: 'let_go', unfinished }),
  }
}

/** What is done with the session itself. What comes of it is told by events. */
function lasting(socket: SessionSocket) {
  return {
    takeCheckpoint: () => void socket.send({ type: 'take_checkpoint' }),
    goBack: (id: string) => void socket.send({ type: 'go_back', checkpoint_id: id }),
    hibernate: () => void socket.send({ type: 'hibernate' }),
    wake: () => void socket.send({ type: 'wake' }),
  }
}

async function loadEarlier({ getState: now, setState: set }: State, api: Api): Promise<void> {
  const first = now().events[0]?.seq
  if (now().loadingEarlier || first === undefined) return
  set({ loadingEarlier: true })
  try {
    const session = encodeURIComponent(now().id)
    const path = `/sessions/${session}/events?before=${first}&limit=${EARLIER_PAGE}`
    const page = await api.ask<EventPage>(path, { parse: parseEvents })
    set(withEarlier(now(), page.events, page.earlier ?? false))
  } finally {
    set({ loadingEarlier: false })
  }
}

function refusedDecision(frames: readonly ServerFrame[]): Problem | null {
  for (const frame of frames.toReversed()) {
    if (frame.type === 'command_refused' && frame.command === 'decide_permission') {
      return frame.problem
    }
  }
  return null
}

/** What is still open of what this tab decided; a refusal gives the buttons back. */
function stillDeciding(
  deciding: Readonly<Record<string, string>>,
  transcript: Transcript,
  frames: readonly ServerFrame[],
): Record<string, string> {
  const refused = frames.some(
    (frame) => frame.type === 'command_refused' && DECISIONS.has(frame.command ?? ''),
  )
  const open = openIds(transcript)
  const still = Object.entries(deciding).filter(([key]) => open.has(key) && !refused)
  return Object.fromEntries(still)
}

const DECISIONS: ReadonlySet<string> = new Set([
  'decide_permission',
  'give_answer',
  'run_again',
  'let_go',
])

/** Beside the prompt's own key: that one is confirmed by other frames. */
export const unfinishedKey = (clientId: string): string => `unfinished:${clientId}`

function openIds({ session }: Transcript): Set<string> {
  return new Set([
    ...(session?.permissions ?? []).map((asked) => asked.permission_id),
    ...(session?.questions ?? []).map((asked) => asked.question_id),
    ...(session?.unfinished ? [unfinishedKey(session.unfinished.client_id)] : []),
  ])
}

/** Commands that need not be sent again: the server has them, refused them, or they are moot. */
function* settledKeys(
  before: OpenSession,
  transcript: Transcript,
  frames: readonly ServerFrame[],
): Iterable<string> {
  const still = stillDeciding(before.deciding, transcript, frames)
  for (const key of Object.keys(before.deciding)) if (!(key in still)) yield key
  yield* confirmedPrompts(transcript, frames)
}

function* confirmedPrompts(
  transcript: Transcript,
  frames: readonly ServerFrame[],
): Iterable<string> {
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
