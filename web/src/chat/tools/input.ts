/** Reading a tool's input, which is whatever Claude wrote: no field is certain to be there. */
import type { ToolRow } from '../transcript/shape'

export type Input = Readonly<Record<string, unknown>>

export function text(input: Input, key: string): string {
  const value = input[key]
  return typeof value === 'string' ? value : ''
}

export function records(input: Input, key: string): Input[] {
  const value = input[key]
  return Array.isArray(value) ? value.filter((item) => typeof item === 'object' && item) : []
}

/** While Claude still writes the JSON, the strings that are complete, or nearly, can be read. */
export function inputOf(row: ToolRow): Input {
  if (row.input) return row.input
  const found: Record<string, string> = {}
  for (const [, key, value] of row.text.matchAll(/"(\w+)"\s*:\s*"((?:[^"\\]|\\.)*)/g)) {
    if (key && !Object.hasOwn(found, key)) found[key] = unescaped(value ?? '')
  }
  return found
}

function unescaped(value: string): string {
  try {
    return String(JSON.parse(`"${value}"`))
  } catch {
    return value
  }
}

/** The text that Claude was given as the result. */
export function resultText(row: ToolRow): string {
  const parts = row.result?.content ?? []
  return parts
    .map((part) => (part.kind === 'other' ? json(part.other) : (part.text ?? '')))
    .join('\n')
}

export function json(value: unknown): string {
  return JSON.stringify(value, null, 2) ?? ''
}

export function firstLine(value: string): string {
  return value.trimStart().split('\n', 1)[0] ?? ''
}

export const lineCount = (value: string): number =>
  value === '' ? 0 : value.replace(/\n$/, '').split('\n').length

const WORKSPACE = /^\/(workspace|work|home\/[^/]+)\//

/** Paths in the workspace are shown from there. */
export const shortPath = (path: string): string => path.replace(WORKSPACE, '')
