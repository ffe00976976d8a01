/** What the screen shows of one session. Plain data; rows that did not change keep their identity. */
import type {
  AgentReady,
  EgressRefused,
  PermissionResolved,
  Problem,
  QuestionAnswered,
  SequencedEvent,
  SessionView,
  Todo,
  ToolFinished,
} from '@/protocol/chat.generated'

interface RowOf<Kind extends string> {
  readonly kind: Kind
  readonly id: string
  /** RFC 3339. */
  readonly at: string
  /** The tool use of the subagent that this belongs to. */
  readonly parent: string | null
}

export interface UserRow extends RowOf<'user'> {
  readonly clientId: string
  readonly text: string
  readonly by: string
  readonly delivery: 'sending' | 'sent' | 'refused'
  readonly problem: Problem | null
  /** Why it did not reach Claude. */
  readonly blocked: Guard | null
  /** What Claude was given beside it. */
  readonly notes: readonly Guard[]
  /** The unfinished prompt that this one runs again; its words are above. */
  readonly again: string | null
}

/** What a guardrail said, and which: `profile`, or a policy's name. */
export interface Guard {
  readonly text: string
  readonly policy: string
}

interface Written {
  readonly text: string
  /** How many code points of the block were received: where the next delta must begin. */
  readonly points: number
  readonly open: boolean
}

export interface TextRow extends RowOf<'text'>, Written {
  /** The sandbox was lost before this was finished. */
  readonly cut: boolean
}

export interface ThoughtRow extends RowOf<'thought'>, Written {
  /** Null where only the finished thought was seen. */
  readonly tookMs: number | null
  readonly cut: boolean
}

export interface ToolRow extends RowOf<'tool'>, Written {
  readonly toolUseId: string
  readonly name: string
  /** Null while Claude still writes it; `text` is then the JSON so far. */
  readonly input: Readonly<Record<string, unknown>> | null
  readonly result: ToolFinished | null
  readonly tookMs: number | null
  readonly decision: PermissionResolved | null
  /** Why a rule refused it before anybody was asked. */
  readonly forbidden: Guard | null
  /** Where the tool is a question: who answered, and what. */
  readonly answer: QuestionAnswered | null
}

export interface NoteRow extends RowOf<'note'> {
  readonly text: string
  readonly origin: string
}

export interface FailureRow extends RowOf<'failure'> {
  readonly tag: string
  readonly sentence: string
  readonly advice: string
  /** The model is asked again by itself; equal failures in a row are one row. */
  readonly times: number
  readonly details: readonly string[]
}

/** What the sandbox tried to reach and may not, since the last prompt. */
export interface EgressRow extends RowOf<'egress'> {
  readonly refusals: readonly EgressRefused[]
  /** Tries at further hosts, beyond those that are listed. */
  readonly more: number
}

export interface UploadRow extends RowOf<'upload'> {
  readonly path: string
  readonly size: number
  readonly by: string
}

export type Mark = 'compacted' | 'reset' | 'ended' | 'unknown' | 'model' | 'mode' | 'limited'

/** A line across the transcript. */
export interface MarkRow extends RowOf<'mark'> {
  readonly mark: Mark
  readonly tag: string
  readonly text: string
}

export interface TurnRow extends RowOf<'turn'> {
  readonly turnId: string
  /** What was kept after it; empty where nothing was. */
  readonly checkpointId: string
}

/** A checkpoint that was taken elsewhere than at the end of a turn. */
export interface CheckpointRow extends RowOf<'checkpoint'> {
  readonly checkpointId: string
}

/** What became of the sandbox, told as one thing: why it went, and how the session went on. */
export interface StayRow extends RowOf<'stay'> {
  readonly cause: 'lost' | 'slept' | 'limit' | 'memory' | 'exchanged' | 'went_back'
  /**
   * `troubled`: it lives on, so far. `gone`: another one is on its way. `resting`: until somebody
   * writes. `stopped`: the same, after too many deaths. `back`: the session went on.
   */
  readonly phase: 'troubled' | 'gone' | 'resting' | 'stopped' | 'back'
  /** The loss's tag, why it slept, or which limit. */
  readonly reason: string
  readonly sentence: string
  /** Why it is not tried any more. */
  readonly stopped: string
  /** Deaths without anything else between them. */
  readonly times: number
  readonly backAt: string
  /** When what one went back to was kept; empty where that is not known here. */
  readonly checkpointAt: string
}

/** Something that people should know and need not act on at once. */
export interface WarningRow extends RowOf<'warning'> {
  readonly topic: 'limit' | 'checkpoint' | 'server'
  readonly tag: string
  readonly server: string
  readonly sentence: string
  readonly times: number
}

export type Row =
  | UserRow
  | TextRow
  | ThoughtRow
  | ToolRow
  | NoteRow
  | FailureRow
  | EgressRow
  | UploadRow
  | MarkRow
  | TurnRow
  | CheckpointRow
  | StayRow
  | WarningRow

export interface Turn {
  readonly id: string
  readonly clientId: string
  readonly startedAt: string
  readonly outcome: 'running' | 'stopping' | 'completed' | 'interrupted' | 'failed'
  readonly durationMs: number
  readonly costUsd: number
  readonly text: string
  /** Its sandbox was lost: that is told where it happened, not as a failure of the turn. */
  readonly lost: boolean
}

export interface Task {
  readonly id: string
  readonly description: string
  readonly status: string
  readonly toolUseId: string | null
  readonly startedAt: string
  readonly tokens: number
  readonly toolUses: number
  readonly durationMs: number
  readonly lastTool: string | null
  readonly summary: string
}

export interface Refusal {
  readonly number: number
  readonly problem: Problem
  readonly command: string
}

export interface Transcript {
  readonly session: SessionView | null
  readonly order: readonly string[]
  readonly rows: Readonly<Record<string, Row>>
  /** Rows of subagents, by their tool use. */
  readonly children: Readonly<Record<string, readonly string[]>>
  /** Tool use to row. */
  readonly tools: Readonly<Record<string, string>>
  /** Prompts that the server has not confirmed yet. */
  readonly outgoing: readonly string[]
  readonly todos: readonly Todo[]
  readonly tasks: Readonly<Record<string, Task>>
  readonly turns: readonly Turn[]
  readonly agent: AgentReady | null
  /** What the CLI says it is busy with. */
  readonly busy: string | null
  readonly answered: PermissionResolved | QuestionAnswered | null
  readonly refusal: Refusal | null
  /** The durable events behind the rows, oldest first: earlier pages are put before them. */
  readonly events: readonly SequencedEvent[]
  readonly earlier: boolean
  readonly seq: number
  readonly epoch: string
  readonly loaded: boolean
}

export const EMPTY: Transcript = {
  session: null,
  order: [],
  rows: {},
  children: {},
  tools: {},
  outgoing: [],
  todos: [],
  tasks: {},
  turns: [],
  agent: null,
  busy: null,
  answered: null,
  refusal: null,
  events: [],
  earlier: false,
  seq: 0,
  epoch: '',
  loaded: false,
}

export const userRowId = (clientId: string) => `user:${clientId}`
export const blockRowId = (messageId: string, index: number) => `${messageId}:${index}`
