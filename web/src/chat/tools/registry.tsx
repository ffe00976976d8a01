/** How each tool is shown: one place that says icon, summary and body. Unknown ones show as JSON. */
import {
  Bot,
  FileDiff,
  FilePlus2,
  FileText,
  FolderSearch,
  Globe,
  ListTodo,
  MessageCircleQuestion,
  Plug,
  ScrollText,
  Search,
  SquareTerminal,
  Wrench,
  type LucideIcon,
} from 'lucide-react'
import type { TFunction } from 'i18next'
import type { ComponentType } from 'react'
import { changeSize } from '@/ui/Diff'
import { own } from '@/ui/own'
import type { ToolRow } from '../transcript/shape'
import { AgentBody } from './AgentBody'
import { AnswersBody, JsonBody, OutputBody, PlanBody, TodosBody } from './bodies'
import { BashBody, exitCode } from './BashBody'
import { EditBody, edits, ReadBody, WriteBody } from './files'
import { firstLine, lineCount, records, resultText, shortPath, text, type Input } from './input'

export interface ToolView {
  icon: LucideIcon
  /** Instead of the tool's own name. */
  title?: (name: string) => string
  summary: (input: Input) => string
  /** A few characters at the right end: `+58 −0`, `412 lines`. */
  meta?: (row: ToolRow, input: Input, t: TFunction) => string
  Body: ComponentType<{ row: ToolRow }>
}

const path = (input: Input) =>
  shortPath(text(input, 'file_path') || text(input, 'notebook_path') || text(input, 'path'))

const changed = (_row: ToolRow, input: Input) => {
  const sizes = edits(input).map((edit) => changeSize(edit.before, edit.after))
  const added = sizes.reduce((sum, size) => sum + size.added, 0)
  const removed = sizes.reduce((sum, size) => sum + size.removed, 0)
  return `+${added} −${removed}`
}

const found = (row: ToolRow, _input: Input, t: TFunction) =>
  row.result && !row.result.is_error ? t('chat.lines', { count: lineCount(resultText(row)) }) : ''

const search: ToolView = {
  icon: Search,
  summary: (input) => [text(input, 'pattern'), path(input)].filter(Boolean).join('  '),
  meta: found,
  Body: OutputBody,
}

const edit: ToolView = { icon: FileDiff, summary: path, meta: changed, Body: EditBody }

const agent: ToolView = {
  icon: Bot,
  summary: (input) => text(input, 'description') || firstLine(text(input, 'prompt')),
  meta: (_row, input) => text(input, 'subagent_type'),
  Body: AgentBody,
}

const shell: ToolView = {
  icon: SquareTerminal,
  summary: (input) => firstLine(text(input, 'command')) || text(input, 'bash_id'),
  meta: (row) => exitCode(row),
  Body: BashBody,
}

const VIEWS: Record<string, ToolView> = {
  Agent: agent,
  AskUserQuestion: {
    icon: MessageCircleQuestion,
    summary: (input) => text(records(input, 'questions')[0] ?? {}, 'question'),
    Body: AnswersBody,
  },
  Bash: shell,
  BashOutput: shell,
  Edit: edit,
  ExitPlanMode: {
    icon: ScrollText,
    summary: (input) => firstLine(text(input, 'plan')).replace(/^#+\s*/, ''),
    Body: PlanBody,
  },
  Glob: { ...search, icon: FolderSearch },
  Grep: search,
  LS: { ...search, icon: FolderSearch, summary: path },
  MultiEdit: edit,
  NotebookEdit: edit,
  Read: {
    icon: FileText,
    summary: path,
    meta: (row, _input, t) =>
      row.result && !row.result.is_error
        ? t('chat.lines', { count: lineCount(resultText(row)) })
        : '',
    Body: ReadBody,
  },
  Task: agent,
  TaskCreate: { icon: ListTodo, summary: (input) => text(input, 'subject'), Body: JsonBody },
  TaskUpdate: {
    icon: ListTodo,
    summary: (input) => ['#' + text(input, 'taskId'), text(input, 'status')].join(' '),
    Body: JsonBody,
  },
  TodoWrite: {
    icon: ListTodo,
    summary: (input) => {
      const todos = records(input, 'todos')
      const done = todos.filter((todo) => todo['status'] === 'completed').length
      const current = todos.find((todo) => todo['status'] === 'in_progress')
      return todos.length ? `${done}/${todos.length} ${text(current ?? {}, 'content')}` : ''
    },
    Body: TodosBody,
  },
  WebFetch: { icon: Globe, summary: (input) => text(input, 'url'), Body: OutputBody },
  WebSearch: { icon: Globe, summary: (input) => text(input, 'query'), Body: OutputBody },
  Write: { icon: FilePlus2, summary: path, meta: changed, Body: WriteBody },
}

const UNKNOWN: ToolView = {
  icon: Wrench,
  summary: (input) =>
    firstLine(String(Object.values(input).find((v) => typeof v === 'string') ?? '')),
  Body: JsonBody,
}

const MCP = /^mcp__(.+?)__(.+)$/

export function toolView(name: string): ToolView {
  const known = own(VIEWS, name)
  if (known) return known
  if (!MCP.test(name)) return UNKNOWN
  return { ...UNKNOWN, icon: Plug, title: (full) => full.replace(MCP, '$1 · $2') }
}
