import { describe, expect, it } from 'vitest'
import type { ToolRow } from '../transcript/shape'
import { settled } from './Ansi'
import { inputOf } from './input'
import { toolView } from './registry'

const row = (change: Partial<ToolRow>): ToolRow => ({
  kind: 'tool',
  id: 'm1:0',
  at: '2026-01-05T10:00:00Z',
  parent: null,
  toolUseId: 'u1',
  name: 'Bash',
  input: null,
  text: '',
  points: 0,
  open: true,
  result: null,
  tookMs: null,
  decision: null,
  forbidden: null,
  answer: null,
  ...change,
})

describe('tools', () => {
  it('that are unknown are shown all the same', () => {
    expect(toolView('SomethingNew').summary({ what: 'this' })).toBe('this')
    expect(toolView('constructor').summary({})).toBe('')
    expect(toolView('mcp__lint__run').title?.('mcp__lint__run')).toBe('lint · run')
  })

  it('take any input without stumbling', () => {
    const hostile = [{}, { file_path: 7, todos: 'x', edits: [null, 3], questions: {} }]
    for (const name of [
      'Bash',
      'Edit',
      'MultiEdit',
      'TodoWrite',
      'AskUserQuestion',
      'Task',
      'Grep',
    ]) {
      for (const input of hostile) expect(typeof toolView(name).summary(input)).toBe('string')
    }
  })

  it('show what is already legible of a half-written input', () => {
    expect(inputOf(row({ text: '{"command": "echo \\"hi\\" && l' }))).toEqual({
      command: 'echo "hi" && l',
    })
  })
})

describe('terminal output', () => {
  it('loses links, moves and controls, and keeps colours', () => {
    const link = '\u001b]8;;https://evil.example\u0007click\u001b]8;;\u0007'
    expect(settled(`${link}\u001b[2J\u0007\u001b[31mred\u001b[0m`)).toBe(
      'click\u001b[31mred\u001b[0m',
    )
  })

  it('shows the last state of a line that was written over', () => {
    expect(settled('10%\r50%\r100%\r\nnext')).toBe('100%\nnext')
  })
})
