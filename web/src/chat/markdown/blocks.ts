/**
 * Splits Markdown into its top-level blocks, so that only the last one is parsed again while text
 * streams in. Half-written syntax of that last block is closed, so that it does not flicker.
 */
import { Lexer } from 'marked'
import remend from 'remend'

/** Blocks before the last two cannot change any more when text is appended. */
const UNSETTLED = 2

export interface Split {
  readonly text: string
  readonly blocks: readonly string[]
}

export const NOTHING: Split = { text: '', blocks: [] }

/** Splitting what grew costs only its tail; anything else is split anew. */
export function split(before: Split, text: string): Split {
  const settled = before.blocks.slice(0, -UNSETTLED)
  const start = settled.reduce((length, block) => length + block.length, 0)
  // The lexer drops carriage returns, so that with them lengths would not add up.
  if (start === 0 || text.includes('\r') || !text.startsWith(before.text)) {
    return { text, blocks: blocksOf(text) }
  }
  return { text, blocks: [...settled, ...blocksOf(text.slice(start))] }
}

/** Reference definitions reach across blocks: such a text stays whole. */
const REFERENCE = /^ {0,3}\[[^\]]+\]:\s/m

function blocksOf(text: string): string[] {
  if (REFERENCE.test(text)) return [text]
  const blocks: string[] = []
  for (const { type, raw } of new Lexer({ gfm: true }).blockTokens(text)) {
    const last = blocks.length - 1
    if (type === 'space' && last >= 0) blocks[last] += raw
    else blocks.push(raw)
  }
  return blocks
}

export function closed(block: string): string {
  return remend(block)
}
